// SPDX-License-Identifier: Apache-2.0
// Routes to the pods of other nodes. All of ours carry one routing protocol number, by which they are told from
// anybody else's: those are never changed, nor hidden by ours.

import { familyOf, formatPrefix, parsePrefix } from './addresses.ts';
import { runIp } from './ip-command.ts';
import { internalAddresses, podCIDRsOf } from './node-addresses.ts';
import { macAnnotation, overlayAddress, overlayLink } from './vxlan.ts';
import type { Node } from '../machinery/api-types.ts';

/** `proto` of every route made here; /etc/iproute2/rt_protos has no name for it. */
export const routeProtocol = 144;

export interface Route {
  /** Canonical prefix. */
  readonly destination: string;
  /** The next hop; undefined for addresses of this node's own block that no pod has. */
  readonly via: string | undefined;
  /** Set when the next hop is reached by this link whatever the link's own addresses are. */
  readonly onLink?: string | undefined;
}

export const networkModes = ['routed', 'vxlan', 'bgp'] as const;
export type NetworkMode = (typeof networkModes)[number];

export function isNetworkMode(text: string): text is NetworkMode {
  return (networkModes as readonly string[]).includes(text);
}

/**
 * Every route that this node should have, sorted. Nodes without podCIDR, InternalIP or, in mode `vxlan`, a published MAC
 * are left out. In mode `bgp` all routes are BIRD's.
 */
export function desiredRoutes(nodes: readonly Node[], nodeName: string, mode: NetworkMode): Route[] {
  if (mode === 'bgp') return [];
  const routes: Route[] = [];
  for (const node of nodes) {
    const addresses = internalAddresses(node);
    for (const cidr of podCIDRsOf(node)) {
      const destination = formatPrefix(parsePrefix(cidr));
      if (node.metadata.name === nodeName) {
        // Without it, packets to a pod that is gone would leave by the default route and come back.
        routes.push({ destination, via: undefined });
        continue;
      }
      const { family } = parsePrefix(cidr);
      if (mode === 'vxlan') {
        if (node.metadata.annotations?.[macAnnotation] === undefined) continue;
        routes.push({ destination, via: overlayAddress(node, family), onLink: overlayLink });
        continue;
      }
      const via = addresses.find((address) => familyOf(address) === family);
      if (via !== undefined) routes.push({ destination, via });
    }
  }
  return routes.toSorted((a, b) => (a.destination < b.destination ? -1 : 1));
}

export interface RouteChange {
  readonly verb: 'add' | 'replace' | 'delete';
  readonly route: Route;
}

/** What turns the present routes of ours into the desired ones; deletions come first. */
export function routeChanges(present: readonly Route[], desired: readonly Route[]): RouteChange[] {
  const wanted = new Map(desired.map((route) => [route.destination, route]));
  const held = new Map(present.map((route) => [route.destination, route]));
  const changes: RouteChange[] = [];
  for (const route of present) if (!wanted.has(route.destination)) changes.push({ verb: 'delete', route });
  for (const route of desired) {
    const old = held.get(route.destination);
    if (old === undefined) changes.push({ verb: 'add', route });
    else if (old.via !== route.via || old.onLink !== route.onLink) changes.push({ verb: 'replace', route });
  }
  return changes;
}

/** Brings the kernel's routes to `desired`; resolves with what was changed. Errors of single routes go to `onError`. */
export async function reconcileRoutes(
  desired: readonly Route[],
  onError: (error: Error) => void,
): Promise<RouteChange[]> {
  const present = [...(await presentRoutes(4)), ...(await presentRoutes(6).catch(() => []))];
  const done: RouteChange[] = [];
  for (const change of routeChanges(present, desired)) {
    try {
      await runIp(routeArguments(change));
      done.push(change);
    } catch (error) {
      onError(new Error(`route to ${change.route.destination} via ${change.route.via ?? 'nowhere'}`, { cause: error }));
    }
  }
  return done;
}

/** Arguments for `ip`. "add" fails where someone else has the route, which is wanted. */
function routeArguments({ verb, route }: RouteChange): string[] {
  const target = route.via === undefined ? ['unreachable', route.destination] : [route.destination, 'via', route.via];
  const family = route.destination.includes(':') ? ['-6'] : [];
  const link = route.onLink === undefined ? [] : ['dev', route.onLink, 'onlink'];
  return [...family, 'route', verb, ...target, ...link, 'proto', String(routeProtocol)];
}

async function presentRoutes(family: number): Promise<Route[]> {
  const text = await runIp([`-${family}`, '-json', 'route', 'show', 'proto', String(routeProtocol)]);
  const rows: unknown = JSON.parse(text === '' ? '[]' : text);
  if (!Array.isArray(rows)) return [];
  return rows.flatMap((row: { dst?: unknown; gateway?: unknown; dev?: unknown; flags?: unknown }) =>
    typeof row.dst === 'string' && row.dst !== 'default'
      ? [
          {
            destination: formatPrefix(parsePrefix(row.dst)),
            via: typeof row.gateway === 'string' ? row.gateway : undefined,
            onLink:
              Array.isArray(row.flags) && row.flags.includes('onlink') && typeof row.dev === 'string'
                ? row.dev
                : undefined,
          },
        ]
      : [],
  );
}

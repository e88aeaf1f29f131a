// SPDX-License-Identifier: Apache-2.0
// Routes to the pods of other nodes. All of ours carry one routing protocol number, by which they are told from
// anybody else's: those are never changed, nor hidden by ours.

import { familyOf, formatPrefix, parsePrefix } from './addresses.ts';
import { runIp } from './ip-command.ts';
import type { Node } from '../machinery/api-types.ts';

/** `proto` of every route made here; /etc/iproute2/rt_protos has no name for it. */
export const routeProtocol = 144;

export interface Route {
  /** Canonical prefix. */
  readonly destination: string;
  /** The next hop; undefined for addresses of this node's own block that no pod has. */
  readonly via: string | undefined;
}

/** Every route that this node should have, sorted. Nodes without podCIDR or InternalIP are left out. */
export function desiredRoutes(nodes: readonly Node[], nodeName: string): Route[] {
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
      const via = addresses.find((address) => familyOf(address) === parsePrefix(cidr).family);
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
    else if (old.via !== route.via) changes.push({ verb: 'replace', route });
  }
  return changes;
}

/** Brings the kernel's routes to `desired`; resolves with what was changed. Errors of single routes go to `onError`. */
export async function reconcileRoutes(
  desired: readonly Route[],
  onError: (error: Error) => void,
): Promise<RouteChange[]> {
  const families = new Set(desired.map((route) => (route.destination.includes(':') ? 6 : 4)));
  const present: Route[] = [];
  for (const family of new Set([4, ...families])) present.push(...(await presentRoutes(family)));
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

export function podCIDRsOf(node: Node): readonly string[] {
  const { podCIDRs, podCIDR } = node.spec ?? {};
  if (podCIDRs !== undefined && podCIDRs.length > 0) return podCIDRs;
  return podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
}

export function internalAddresses(node: Node): string[] {
  return (node.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}

/** Arguments for `ip`. "add" fails where someone else has the route, which is wanted. */
function routeArguments({ verb, route }: RouteChange): string[] {
  const target = route.via === undefined ? ['unreachable', route.destination] : [route.destination, 'via', route.via];
  const family = route.destination.includes(':') ? ['-6'] : [];
  return [...family, 'route', verb, ...target, 'proto', String(routeProtocol)];
}

async function presentRoutes(family: number): Promise<Route[]> {
  const text = await runIp([`-${family}`, '-json', 'route', 'show', 'proto', String(routeProtocol)]);
  const rows: unknown = JSON.parse(text === '' ? '[]' : text);
  if (!Array.isArray(rows)) return [];
  return rows.flatMap((row: { dst?: unknown; gateway?: unknown }) =>
    typeof row.dst === 'string' && row.dst !== 'default'
      ? [
          {
            destination: formatPrefix(parsePrefix(row.dst)),
            via: typeof row.gateway === 'string' ? row.gateway : undefined,
          },
        ]
      : [],
  );
}

// SPDX-License-Identifier: Apache-2.0
// Which node answers for the address of a load balancer on the LAN. Every agent computes the same from the same state,
// so that they need not talk to each other: one Ready node per address, spread by hash; another one when it fails. Pure.

import { createHash } from 'node:crypto';

import { familyOf } from './addresses.ts';
import type { EndpointSlice, Node, Service } from '../machinery/api-types.ts';

/** The class that this cluster serves besides Services without one. */
const ownClass = 'plumbline.local/lan';
const excluded = 'node.kubernetes.io/exclude-from-external-load-balancers';

export interface AnnouncementState {
  readonly services: readonly Service[];
  readonly nodes: readonly Node[];
  /** All slices of the Service `namespace/name`. */
  slices(key: string): readonly EndpointSlice[];
}

/** Node name by address; addresses that no node can serve are left out. */
export function planAnnouncements({ services, nodes, slices }: AnnouncementState): Map<string, string> {
  const candidates = nodes.filter(isCandidate).map(({ metadata }) => metadata.name ?? '');
  const announcers = new Map<string, string>();
  for (const { metadata, spec, status } of services) {
    if (spec?.type !== 'LoadBalancer' || (spec.loadBalancerClass ?? ownClass) !== ownClass) continue;
    const key = `${metadata.namespace}/${metadata.name}`;
    const able = spec.externalTrafficPolicy === 'Local' ? withEndpoints(candidates, slices(key)) : candidates;
    for (const { ip, ipMode } of status?.loadBalancer?.ingress ?? []) {
      if (ip === undefined || familyOf(ip) === undefined || ipMode === 'Proxy') continue;
      const chosen = able.toSorted((a, b) => (rank(ip, a) < rank(ip, b) ? -1 : 1))[0];
      if (chosen !== undefined) announcers.set(ip, chosen);
    }
  }
  return announcers;
}

function isCandidate({ metadata, status }: Node): boolean {
  if (metadata.deletionTimestamp !== undefined || metadata.labels?.[excluded] !== undefined) return false;
  return status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') === true;
}

function withEndpoints(nodes: readonly string[], slices: readonly EndpointSlice[]): string[] {
  const here = new Set(
    slices.flatMap(({ endpoints }) =>
      (endpoints ?? []).flatMap(({ nodeName, conditions }) =>
        nodeName !== undefined && (conditions?.ready ?? true) ? [nodeName] : [],
      ),
    ),
  );
  return nodes.filter((node) => here.has(node));
}

/** The lowest wins; only the addresses of a node that comes or goes move. */
function rank(address: string, node: string): string {
  return createHash('sha256').update(`${address} ${node}`).digest('hex');
}

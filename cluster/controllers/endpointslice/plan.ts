// SPDX-License-Identifier: Apache-2.0
// Lays endpoints out in slices of at most 100 with as few writes as possible: an endpoint stays in the slice that it is
// in, new ones fill slices that change anyway, then other slices with room, then new slices.
import type { DiscoveryV1EndpointPort, Endpoint, EndpointSlice } from '../../machinery/api-types.ts';
import { sameJson } from '../canonical-json.ts';
import type { EndpointGroup } from './endpoints.ts';

export interface SlicePlan {
  readonly create: EndpointSlice[];
  readonly update: EndpointSlice[];
  readonly remove: EndpointSlice[];
}

/** What every slice of the Service carries. */
export interface SliceIdentity {
  readonly metadata: Pick<EndpointSlice['metadata'], 'generateName' | 'namespace' | 'labels' | 'ownerReferences'> & {
    annotations?: Record<string, string>;
  };
  /** Families for which an empty slice is kept when there is no endpoint. */
  readonly addressTypes: readonly string[];
}

const capacity = 100;

export function planSlices(
  identity: SliceIdentity,
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
): SlicePlan {
  const plan: SlicePlan = { create: [], update: [], remove: [] };
  const left = new Set(existing);
  const wanted = [...groups];
  for (const addressType of identity.addressTypes) {
    if (!wanted.some((group) => group.addressType === addressType))
      wanted.push({ addressType, ports: [], endpoints: [] });
  }
  for (const group of wanted) {
    const mine = [...left].filter(
      (slice) => slice.addressType === group.addressType && samePorts(slice.ports, group.ports),
    );
    for (const slice of mine) left.delete(slice);
    planGroup(plan, identity, { group, slices: mine });
  }
  plan.remove.push(...left);
  return plan;
}

function planGroup(
  plan: SlicePlan,
  identity: SliceIdentity,
  { group, slices }: { group: EndpointGroup; slices: readonly EndpointSlice[] },
): void {
  const missing = new Map(group.endpoints.map((endpoint) => [endpointKey(endpoint), endpoint]));
  const layouts = slices.map((slice) => {
    const endpoints: Endpoint[] = [];
    let changed = !carries(slice, identity);
    for (const old of slice.endpoints ?? []) {
      const endpoint = missing.get(endpointKey(old));
      if (!endpoint) changed = true;
      else {
        missing.delete(endpointKey(old));
        endpoints.push(endpoint);
        changed ||= !sameJson(endpoint, old);
      }
    }
    return { slice, endpoints, changed };
  });
  const rest = [...missing.values()];
  const fill = (layout: (typeof layouts)[number]): void => {
    const taken = rest.splice(0, capacity - layout.endpoints.length);
    if (taken.length > 0) layout.changed = true;
    layout.endpoints.push(...taken);
  };
  for (const layout of layouts) if (layout.changed) fill(layout);
  for (const layout of layouts.toSorted((a, b) => b.endpoints.length - a.endpoints.length)) fill(layout);

  const placeholder = group.endpoints.length === 0;
  let kept = 0;
  for (const { slice, endpoints, changed } of layouts) {
    if (endpoints.length === 0 && !(placeholder && kept === 0)) {
      plan.remove.push(slice);
      continue;
    }
    kept++;
    if (changed) plan.update.push({ ...slice, ...content(group, endpoints), metadata: mergeMetadata(slice, identity) });
  }
  const fresh = placeholder && kept === 0 ? 1 : Math.ceil(rest.length / capacity);
  for (let index = 0; index < fresh; index++) {
    plan.create.push({
      metadata: { ...identity.metadata },
      addressType: group.addressType,
      ...content(group, rest.splice(0, capacity)),
    });
  }
}

function content(group: EndpointGroup, endpoints: Endpoint[]): Pick<EndpointSlice, 'endpoints' | 'ports'> {
  return { endpoints, ports: group.ports };
}

function carries(slice: EndpointSlice, { metadata }: SliceIdentity): boolean {
  return (
    sameJson(slice.metadata.labels, metadata.labels) &&
    sameJson(slice.metadata.ownerReferences, metadata.ownerReferences)
  );
}

function mergeMetadata(slice: EndpointSlice, { metadata }: SliceIdentity): EndpointSlice['metadata'] {
  const { labels, ownerReferences, annotations } = metadata;
  return {
    ...slice.metadata,
    ...(labels && { labels }),
    ...(ownerReferences && { ownerReferences }),
    ...(annotations && { annotations: { ...slice.metadata.annotations, ...annotations } }),
  };
}

function endpointKey({ addresses, targetRef, hostname }: Endpoint): string {
  return `${targetRef?.uid ?? ''} ${hostname ?? ''} ${addresses.join(',')}`;
}

function samePorts(a: readonly DiscoveryV1EndpointPort[] | undefined, b: readonly DiscoveryV1EndpointPort[]): boolean {
  const view = (ports: readonly DiscoveryV1EndpointPort[]): string[] =>
    ports
      .map(({ name = '', port, protocol = 'TCP', appProtocol = '' }) => `${name} ${port} ${protocol} ${appProtocol}`)
      .toSorted();
  return sameJson(view(a ?? []), view(b));
}

// SPDX-License-Identifier: Apache-2.0
/** What each capture point asks tcpdump for. Pure. */
import type { CapturePoint } from './capture-points.ts';

export interface FilterInput {
  /** The user's, or empty. */
  readonly wanted: string;
  /** Addresses that uplinks and tunnels are narrowed to; empty: everything that passes. */
  readonly addresses: readonly string[];
  /** What the capture's own streams look like on the wire: on an uplink they would feed on themselves. Absent where they cannot be caught. */
  readonly ownStreams?: string;
}

/** Tunnels between nodes; what they carry is looked at by whoever reads. */
const tunnels = 'udp port 4789 or udp port 8472 or udp port 6081 or ip proto 4 or ip proto 47 or ip proto 41';

/** Pods' own interfaces and their host sides show only what concerns the pod, so there the user's filter is enough. */
export function filterFor(point: CapturePoint, input: FilterInput): string {
  if (point.kind === 'pod' || point.kind === 'host-side') return input.wanted;
  const direct = endpointsFilter(input);
  if (point.kind === 'tunnel') return direct;
  const { ownStreams } = input;
  const others = ownStreams === undefined ? [] : [`not (${ownStreams})`];
  return [...(direct === '' ? [] : [`((${direct}) or ${tunnels})`]), ...others].join(' and ');
}

/** What packets of the endpoints themselves have to be like, within tunnels too. */
export function endpointsFilter({ wanted, addresses }: FilterInput): string {
  const hosts = addresses.map((address) => `host ${address}`).join(' or ');
  return [wanted, hosts]
    .filter((part) => part !== '')
    .map((part) => `(${part})`)
    .join(' and ');
}

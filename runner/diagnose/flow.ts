// SPDX-License-Identifier: Apache-2.0
/** One flow traced in a known cluster: for `plumb trace`, and for the failed cases of a run. */
import type { SeenPacket } from '../../probes/capture/capture.ts';
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import { observe } from '../../probes/trace/collect.ts';
import type { Observations, Party, TraceProtocol } from '../../probes/trace/observations.ts';
import { addressesOfNode, type NetworkObjects } from '../target/network-objects.ts';
import { describeAddress, podsByName, troubledNodes } from './parties.ts';
import { policyOpinions } from './policy-opinions.ts';

export interface TracedFlow {
  readonly objects: NetworkObjects;
  readonly access: NodeAccess | undefined;
  readonly from: Party;
  readonly to: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: TraceProtocol;
  readonly timeoutMs: number;
  readonly payloadOctets: number;
  readonly onPacket?: (seen: SeenPacket) => void;
}

export async function observeFlow({ objects, from, protocol, ...flow }: TracedFlow): Promise<Observations> {
  const transport = protocol === 'udp' ? 'udp' : 'tcp';
  const ask = policyOpinions(objects);
  const describe = (address: string | undefined) =>
    describeAddress(objects, { address, port: flow.port, protocol: transport });
  return observe({
    ...flow,
    from,
    protocol,
    describe,
    opinions: (servers, throughService) => ask({ from, protocol: transport, throughService }, servers),
    pods: podsByName(objects),
    nodeAddresses: Object.fromEntries(objects.nodes.map((node) => [node.metadata?.name ?? '', addressesOfNode(node)])),
    troubledNodes: troubledNodes(objects),
  });
}

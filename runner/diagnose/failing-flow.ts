// SPDX-License-Identifier: Apache-2.0
/** Traces the flow of a failed case with what the cluster's objects and policies say about it. */
import type { FlowTracer } from '../../probes/trace/failing-flow.ts';
import { traceLines } from '../../probes/trace/trace-lines.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { namesByAddress, readNetworkObjects } from '../target/network-objects.ts';
import { traceFlow } from './flow.ts';
import { partyFrom } from './parties.ts';

const timeoutMs = 1_500;

export function flowTracer(kube: KubeClients): FlowTracer {
  return async ({ pod, node, host, port, protocol, payloadOctets, access, onPacket }) => {
    const objects = await readNetworkObjects(kube);
    const from = partyFrom(pod ?? `node/${node}`, { objects, namespace: 'default' });
    const { first, toSilent } = await traceFlow({
      kube,
      objects,
      access,
      from,
      to: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      host,
      port,
      protocol,
      timeoutMs,
      payloadOctets,
      onPacket,
    });
    const traces = [first, ...(toSilent === undefined ? [] : [toSilent])];
    const names = namesByAddress(objects);
    const lines = traces.flatMap(({ observations, verdict }, index) => [
      ...(index === 0 ? [] : ['']),
      ...traceLines(observations, verdict, { names, colour: false }),
    ]);
    return toSilent === undefined ? { record: first, lines } : { record: toSilent, lines, met: first.verdict.summary };
  };
}

// SPDX-License-Identifier: Apache-2.0
/** One flow traced in a known cluster: for `plumb trace`, and for the failed cases of a run. */
import type { SeenPacket } from '../../probes/capture/capture.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import { observe } from '../../probes/trace/collect.ts';
import { judge } from '../../probes/trace/judge.ts';
import { endpointName, silentEndpoints } from '../../probes/trace/judge-ends.ts';
import type { Observations, Party, TraceProtocol } from '../../probes/trace/observations.ts';
import type { TraceRecord } from '../../probes/trace/record.ts';
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
  /** For asking the API server to reach servers, where no node can be looked at. */
  readonly kube?: KubeClients;
}

const serversMost = 4;

export interface TracedFlows {
  readonly first: TraceRecord;
  /** To an endpoint of the Service that does not answer, where the first probe met another one that does. */
  readonly toSilent: TraceRecord | undefined;
}

/** Traces the flow, and once more to an endpoint that does not answer where it is only chance that the first probe did not meet it. */
export async function traceFlow(flow: TracedFlow): Promise<TracedFlows> {
  const trace = async (one: TracedFlow): Promise<TraceRecord> => {
    const observations = await observeFlow(one);
    return { schema: 1, verdict: judge(observations), observations };
  };
  const first = await trace(flow);
  const [silent] = silentEndpoints(first.observations);
  if (silent === undefined) return { first, toSilent: undefined };
  const { address: host, port } = silent;
  return { first, toSilent: await trace({ ...flow, to: endpointName(silent), host, port }) };
}

export async function observeFlow({ objects, from, protocol, kube, ...flow }: TracedFlow): Promise<Observations> {
  const transport = protocol === 'udp' ? 'udp' : 'tcp';
  const ask = policyOpinions(objects);
  const describe = (address: string | undefined) =>
    describeAddress(objects, { address, port: flow.port, protocol: transport });
  return observe({
    ...flow,
    ...(kube === undefined ? {} : { reachServers: (servers: Servers) => reachByProxy(kube, servers) }),
    from,
    protocol,
    describe,
    opinions: (servers, throughService) => ask({ from, protocol: transport, throughService }, servers),
    pods: podsByName(objects),
    nodeAddresses: Object.fromEntries(objects.nodes.map((node) => [node.metadata?.name ?? '', addressesOfNode(node)])),
    troubledNodes: troubledNodes(objects),
  });
}

type Servers = Observations['question']['servers'];

/** Through the API server's proxy: any answer of the pod counts, whatever it says to HTTP. */
async function reachByProxy(kube: KubeClients, servers: Servers): Promise<Observations['reach']> {
  const pods = servers.filter(({ kind }) => kind === 'pod').slice(0, serversMost);
  return Promise.all(
    pods.map(async ({ name, port }) => {
      const [namespace, pod] = name.split('/');
      const server = `${name}:${port}`;
      try {
        const { status, body } = await kube.request({
          path: `/api/v1/namespaces/${namespace}/pods/${pod}:${port}/proxy/`,
          timeoutMs: 5_000,
        });
        const words = body.toString().slice(0, 300);
        const isOwn = status >= 500 && /"kind":\s*"Status"|error trying to reach|dial tcp|ECONN/.test(words);
        // What speaks no HTTP was reached all the same.
        const reached = !isOwn || /malformed|EOF|bad HTTP|HPE_|Parse Error|socket hang up/i.test(words);
        return { server, reached, words: isOwn ? words : `HTTP status ${status}` };
      } catch (error) {
        return { server, reached: false, words: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}

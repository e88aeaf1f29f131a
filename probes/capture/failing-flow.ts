// SPDX-License-Identifier: Apache-2.0
/**
 * Looks at a failed flow again, at the moment of failure: captures at the client's node and at every node where it may end, the attempt
 * made once more, the policies and endpoints involved, and one paragraph that says how far the packet came.
 */
import type { CoreV1Api, NetworkingV1Api, V1LabelSelector } from '@kubernetes/client-node';
import type { Attach, MadeAttempt, NodeProbe, ProbePod } from '../agent/prober.ts';
import { explainFlow, parseSeenPackets, type FlowFacts, type SeenPacket } from './flow-explanation.ts';
import { captureOnNode, type NodeCapture } from './node-capture.ts';

export interface FailingFlowInput {
  readonly error: Error;
  /** All attempts of the case, oldest first. */
  readonly made: readonly MadeAttempt[];
  /** Probe pods of the case. */
  readonly pods: readonly ProbePod[];
  readonly core: CoreV1Api;
  readonly networking: NetworkingV1Api;
  readonly nodeProbe: (node: string) => Promise<NodeProbe>;
  readonly nodeProbesAllowed: boolean;
  readonly attach: Attach;
}

/** Servers beyond this many are not looked at: one is enough to see where packets end. */
const serversMax = 4;

/** Does nothing when the case made no attempt. Errors of single pieces of evidence are told in the explanation. */
export async function recordFailingFlow(input: FailingFlowInput): Promise<void> {
  const chosen = failedAttempt(input);
  if (chosen === undefined) return;
  const { from, request, result } = chosen;
  await input.attach({
    name: 'attempt.json',
    content: JSON.stringify({ from: from.description, node: from.node, request, result }, undefined, 2),
    summary: `The attempt: ${from.description} to ${request.protocol} ${request.host}:${request.port} ended "${result.outcome}"`,
  });
  const target = result.address ?? request.host;
  const servers = await findServers(input, target);
  const policies = await policiesAround(input, [from, ...servers]);
  await input.attach({
    name: 'objects.json',
    content: JSON.stringify({ target, servers, policies: policies.objects }, undefined, 2),
    summary: 'Endpoints behind the target and the NetworkPolicies that select an end',
  });
  const { captures, outcome, troubles } = await captureAgain(input, chosen, servers);
  const facts: FlowFacts = {
    client: from.description,
    clientNode: from.node,
    clientAddresses: 'ips' in from ? (from as ProbePod).ips : [],
    target: `${request.protocol} ${request.host}:${request.port}`,
    servers,
    outcome: outcome ?? result.outcome,
    captures,
    policies: policies.names,
  };
  const explanation = [
    captures.size > 0 && outcome !== undefined
      ? explainFlow(facts)
      : `${facts.client} tried ${facts.target}, which ended "${result.outcome}" (${result.error ?? 'no error text'}).`,
    ...troubles,
  ].join(' ');
  await input.attach({
    name: 'explanation.txt',
    content: `${explanation}\n`,
    role: 'explanation',
    summary: 'How far the packet came',
  });
}

/** The attempt that the failed assertion names, or the newest that did not succeed, or the newest. */
function failedAttempt({ error, made }: FailingFlowInput): MadeAttempt | undefined {
  const named = 'attempt' in error ? made.find(({ result }) => result === error.attempt) : undefined;
  return named ?? made.findLast(({ result }) => result.outcome !== 'allowed') ?? made.at(-1);
}

interface Server {
  readonly name: string;
  readonly address: string;
  readonly node: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

async function findServers({ core, pods }: FailingFlowInput, target: string): Promise<Server[]> {
  const known = pods.find(({ ips }) => ips.includes(target));
  if (known !== undefined) {
    const { namespace, node, labels } = known;
    return [{ name: `pod ${namespace}/${known.name}`, address: target, node, namespace, labels }];
  }
  const all = (await core.listPodForAllNamespaces()).items;
  const behind = (await core.listServiceForAllNamespaces()).items.find(({ spec, status }) =>
    [
      spec?.clusterIP,
      ...(spec?.clusterIPs ?? []),
      ...(spec?.externalIPs ?? []),
      ...(status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip),
    ].includes(target),
  );
  const selector = Object.entries(behind?.spec?.selector ?? {});
  return all
    .filter(({ metadata, status }) =>
      behind === undefined
        ? status?.podIP === target
        : metadata?.namespace === behind.metadata?.namespace &&
          selector.length > 0 &&
          selector.every(([key, value]) => metadata?.labels?.[key] === value),
    )
    .slice(0, serversMax)
    .map(({ metadata, spec, status }) => ({
      name: `pod ${metadata?.namespace}/${metadata?.name}`,
      address: status?.podIP ?? '',
      node: spec?.nodeName ?? '',
      namespace: metadata?.namespace ?? '',
      labels: metadata?.labels ?? {},
    }));
}

async function policiesAround(
  { networking }: FailingFlowInput,
  ends: readonly object[],
): Promise<{ names: string[]; objects: unknown[] }> {
  const pods = ends.filter((end): end is Server => 'namespace' in end && 'labels' in end);
  const namespaces = [...new Set(pods.map(({ namespace }) => namespace))];
  const lists = await Promise.all(namespaces.map((namespace) => networking.listNamespacedNetworkPolicy({ namespace })));
  const selecting = lists
    .flatMap(({ items }) => items)
    .filter(({ metadata, spec }) =>
      pods.some(({ namespace, labels }) => namespace === metadata?.namespace && selects(spec?.podSelector, labels)),
    );
  return {
    names: selecting.map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`),
    objects: selecting.map(({ metadata, spec }) => ({ namespace: metadata?.namespace, name: metadata?.name, spec })),
  };
}

function selects(selector: V1LabelSelector | undefined, labels: Readonly<Record<string, string>>): boolean {
  const equal = Object.entries(selector?.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return (
    equal &&
    (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      if (operator === 'In') return value !== undefined && values.includes(value);
      return value === undefined || !values.includes(value);
    })
  );
}

async function captureAgain(
  input: FailingFlowInput,
  { from, request, result }: MadeAttempt,
  servers: readonly Server[],
) {
  const captures = new Map<string, readonly SeenPacket[]>();
  const troubles: string[] = [];
  if (!input.nodeProbesAllowed) {
    return {
      captures,
      outcome: undefined,
      troubles: ['No packets were captured: the run was started with --no-node-probes.'],
    };
  }
  const clientAddresses = 'ips' in from ? (from as ProbePod).ips : [];
  const hosts = [
    ...new Set([...clientAddresses, result.address ?? request.host, ...servers.map(({ address }) => address)]),
  ]
    .filter((address) => /^[0-9a-f.:]+$/i.test(address) && address !== '')
    .map((address) => `host ${address}`);
  const nodes = [...new Set([from.node, ...servers.map(({ node }) => node)])].filter((node) => node !== '');
  const running = new Map<string, NodeCapture>();
  await Promise.all(
    nodes.map(async (node) => {
      try {
        running.set(node, await captureOnNode(await input.nodeProbe(node), hosts.join(' or ') || 'ip or ip6'));
      } catch (error) {
        troubles.push(`No capture on node ${node}: ${error instanceof Error ? error.message : String(error)}.`);
      }
    }),
  );
  let outcome: string | undefined;
  try {
    outcome = (await from.attempt(request)).outcome;
  } catch (error) {
    troubles.push(`The attempt could not be repeated: ${error instanceof Error ? error.message : String(error)}.`);
  }
  for (const [node, capture] of running) {
    try {
      const { pcap, text } = await capture.stop();
      const side =
        node === from.node ? (servers.some((server) => server.node === node) ? 'both-ends' : 'client') : 'server';
      await input.attach({
        name: `${side}-${node}.pcap`,
        content: pcap,
        summary: `Packets of the repeated attempt on ${node}`,
      });
      await input.attach({ name: `${side}-${node}.txt`, content: text, summary: `The same capture as text` });
      captures.set(node, parseSeenPackets(text));
    } catch (error) {
      troubles.push(`The capture on node ${node} was lost: ${error instanceof Error ? error.message : String(error)}.`);
    }
  }
  return { captures, outcome, troubles };
}

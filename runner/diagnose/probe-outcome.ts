// SPDX-License-Identifier: Apache-2.0
/** What the planned probes say: which failed, which of them need a closer look, and what follows without one. Pure. */
import type { Diagnosis } from './diagnosis.ts';
import type { PlannedProbe } from './probe-plan.ts';

export interface ProbeOutcome {
  readonly probe: PlannedProbe;
  /** As the agent has it, or an answer code of DNS. */
  readonly outcome: string;
  readonly error?: string;
  readonly status?: number;
  /** Of a name that was asked for several times: the second slowest. */
  readonly latencyMs: number;
}

export function isConnected({ outcome, error }: ProbeOutcome): boolean {
  return outcome === 'allowed' || outcome === 'reset' || (error ?? '').startsWith('connected');
}

export function hasFailed(result: ProbeOutcome): boolean {
  const { probe, outcome, status } = result;
  if (probe.kind === 'forbidden') return isConnected(result);
  if (probe.kind === 'health') return isConnected(result) && (status === undefined || status >= 400);
  if (probe.protocol === 'dns') return outcome !== 'NOERROR' && outcome !== 'NXDOMAIN';
  if (probe.protocol === 'http') return outcome !== 'allowed' || (status !== undefined && status >= 500);
  // What is no HTTP may not answer what a probe says; that a connection was made is enough.
  return !isConnected(result);
}

/**
 * Several answers to one question as one; none of none. What is lost now and then, as where one of several servers is not reached, matters more than what is slow.
 */
export function worstOf(seen: readonly ProbeOutcome[]): ProbeOutcome[] {
  const worst = seen.find(hasFailed) ?? seen[0];
  const times = seen.filter((one) => !hasFailed(one)).map(({ latencyMs }) => latencyMs);
  const [slowest = 0, second = slowest] = times.toSorted((a, b) => b - a);
  return worst === undefined ? [] : [{ ...worst, latencyMs: second }];
}

const slowAnswerMs = 400;

/** Answers that come, and take long. */
function slowDns(results: readonly ProbeOutcome[]): Diagnosis[] {
  const answers = results.filter((result) => result.probe.protocol === 'dns' && !hasFailed(result));
  const slow = answers.filter(({ latencyMs }) => latencyMs > slowAnswerMs);
  if (slow.length * 2 < answers.length || slow.length < 2) return [];
  const services = slow.flatMap(({ probe }) => (probe.service === undefined ? [] : [`Service ${probe.service}`]));
  const pods = slow.flatMap(({ probe }) => (probe.to.includes('/') ? [`Pod ${probe.to.replace(/:\d+$/, '')}`] : []));
  return [
    {
      reason: 'slow',
      component: 'dns',
      objects: [...new Set([...services, ...pods])],
      summary: `Cluster DNS is slow: ${slow.length} of ${answers.length} answers took more than ${slowAnswerMs} ms.`,
      evidence: slow.map(({ probe, latencyMs }) => `${probe.from.name} asked ${probe.to}: ${Math.round(latencyMs)} ms`),
      next: 'Look at the load of the DNS pods, their CPU limits and their upstream servers.',
      weight: 64,
    },
  ];
}

/** What no trace can say better. */
export function outcomeDiagnoses(results: readonly ProbeOutcome[]): Diagnosis[] {
  return [...slowDns(results), ...failures(results)];
}

function failures(results: readonly ProbeOutcome[]): Diagnosis[] {
  return results.filter(hasFailed).flatMap((result): Diagnosis[] => {
    const { probe, outcome, status, error } = result;
    const { from, to, service, toNode } = probe;
    const evidence = [
      `${probe.protocol} from ${from.name} on ${from.node} to ${to}: ${status ?? outcome}${error === undefined ? '' : ` (${error})`}`,
    ];
    const server = to.replace(/:\d+$/, '');
    const objects = [
      ...(probe.kind === 'endpoint' || probe.kind === 'large' ? [`Pod ${server}`] : []),
      ...(service === undefined ? [] : [`Service ${service}`]),
    ];
    if (probe.kind === 'forbidden')
      return [
        {
          reason: 'policy-not-enforced',
          component: 'network-policy',
          ...(toNode === undefined ? {} : { node: toNode }),
          objects: [
            ...(probe.policies ?? []).map((name) =>
              name.includes('/') ? `NetworkPolicy ${name}` : `ClusterNetworkPolicy ${name}`,
            ),
            ...(toNode === undefined ? [] : [`Node ${toNode}`]),
            `Pod ${server}`,
          ],
          summary: `${from.name} reaches ${to}, which ${(probe.policies ?? []).join(', ')} ${(probe.policies ?? []).length > 1 ? 'forbid' : 'forbids'}.`,
          evidence,
          next: `Look at the part of the network plugin that enforces policies on ${toNode}: whether it runs and what it logs.`,
          weight: 83,
        },
      ];
    if (probe.kind === 'zone')
      // Where cluster DNS is not reached at all, that is said elsewhere.
      return answersFor(from.name, results)
        ? [
            {
              reason: 'name-resolution',
              component: 'dns',
              objects: ['ConfigMap kube-system/coredns', ...objects],
              summary: `Names of ${probe.zone} do not resolve: cluster DNS ${outcome === 'dropped' ? 'gives no answer' : `answers ${outcome}`}, while it does for names of the cluster.`,
              evidence,
              next: `Look at the servers to which the Corefile forwards ${probe.zone}: whether they are there, and reached from the DNS pods.`,
              weight: 61,
            },
          ]
        : [];
    if (probe.kind === 'health')
      return [
        {
          reason: probe.part === 'storage' ? 'storage' : 'application',
          component: probe.part ?? 'application',
          ...(toNode === undefined || probe.part === undefined ? {} : { node: toNode }),
          objects: [`Pod ${server}`],
          summary: `The program in ${server} ${status === undefined ? 'takes connections and gives no answer' : `answers with HTTP status ${status}`} where its kubelet asks whether it is well (${probe.path}).`,
          evidence,
          next: 'It hangs or is overloaded: look at its CPU and its logs.',
          weight: 54,
        },
      ];
    if (probe.protocol === 'http' && isConnected(result))
      return [
        {
          reason: 'application',
          component: 'application',
          objects,
          summary:
            status === undefined
              ? `${to} takes connections and ${outcome === 'reset' ? 'cuts them off' : 'does not answer'}.`
              : `${to} answers with HTTP status ${status}.`,
          evidence,
          next: 'The network carries requests there: read the logs of the program.',
          weight: 58,
        },
      ];
    if (probe.protocol === 'dns' && outcome !== 'dropped' && outcome !== 'refused')
      return [
        {
          reason: 'name-resolution',
          component: 'dns',
          objects,
          summary: `${to} answers ${outcome} to ${from.name} for a name of the cluster.`,
          evidence,
          next: 'Read the configuration and the logs of cluster DNS.',
          weight: 60,
        },
      ];
    return [];
  });
}

/** Others of the source's questions to cluster DNS were answered. */
function answersFor(name: string, results: readonly ProbeOutcome[]): boolean {
  return results.some((one) => one.probe.kind === 'dns' && one.probe.from.name === name && !hasFailed(one));
}

const tracesMost = 4;

/** Failed flows whose cause packets can show, one for each pair of ends; plain ways before those through Services. */
export function worthTracing(results: readonly ProbeOutcome[], known: readonly Diagnosis[]): PlannedProbe[] {
  const order: Readonly<Record<PlannedProbe['kind'], number>> = {
    endpoint: 0,
    large: 1,
    'local-pod': 2,
    service: 3,
    'node-port': 4,
    dns: 1,
    zone: 9,
    health: 9,
    forbidden: 9,
  };
  const failed = results.filter(
    (result) =>
      hasFailed(result) &&
      order[result.probe.kind] < 9 &&
      !(result.probe.protocol === 'http' && isConnected(result) && result.probe.kind !== 'large'),
  );
  const chosen = new Map<string, PlannedProbe>();
  for (const { probe } of failed.toSorted((a, b) => order[a.probe.kind] - order[b.probe.kind])) {
    if (isExplained(probe, known)) continue;
    // What goes through a Service fails as its servers do.
    const behind = failed.filter(
      (other) =>
        other.probe.toNode !== undefined &&
        other.probe.service === probe.service &&
        other.probe.from.node === probe.from.node,
    );
    const isThrough = probe.toNode === undefined && probe.service !== undefined && behind.length > 0;
    if (isThrough && behind.every((other) => isExplained(other.probe, known))) continue;
    // A Service whose endpoints fail from the same node needs no look of its own.
    const same = failed.some(
      (other) =>
        other.probe.kind === 'endpoint' &&
        other.probe.from.node === probe.from.node &&
        other.probe.service === probe.service,
    );
    if ((probe.kind === 'service' || probe.kind === 'node-port') && same) continue;
    const key =
      probe.protocol === 'dns'
        ? `dns ${probe.from.name.split('/')[0]}`
        : `${probe.kind === 'large' ? 'large' : 'flow'} ${probe.toNode ?? probe.to} ${probe.port}`;
    if (!chosen.has(key)) chosen.set(key, probe);
  }
  return [...chosen.values()].slice(0, tracesMost);
}

const explaining = new Set(['network', 'node', 'kubelet', 'container-runtime']);

/** A broken network at either end, or a broken proxy for the same Service at the source, explains a failure. */
export function isExplained({ from, toNode, service, kind }: PlannedProbe, known: readonly Diagnosis[]): boolean {
  return known.some(({ reason, component, node, objects, weight }) => {
    // Where packets are lost at random, more of a large request are; pings of full size tell a wrong MTU.
    if (reason === 'loss' && kind === 'large') return true;
    if (reason === 'routing-loop') return objects.includes(`Node ${from.node}`);
    if (weight < 80 && component !== 'kube-proxy') return false;
    if (component === 'kube-proxy') return node === from.node && objects.includes(`Service ${service}`);
    return explaining.has(component) && node !== undefined && (node === from.node || node === toNode);
  });
}

// SPDX-License-Identifier: Apache-2.0
/** Looks at a whole cluster and says what is broken. Reads, sends small probes, changes nothing; what to conclude is decided in pure functions. */
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import { judge } from '../../probes/trace/judge.ts';
import type { Finding } from '../../suites/network/findings/finding.ts';
import { nodeFindings } from '../../suites/network/findings/node-findings.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import { readNetworkObjects, type NetworkObjects } from '../target/network-objects.ts';
import type { OwnNodeAccess } from '../target/node-access.ts';
import { releaseCanaries } from './canaries.ts';
import { canaryDiagnoses, canaryProbes } from './canary-diagnoses.ts';
import { controlPlaneDiagnoses, isSlow } from './control-plane.ts';
import { ranked, type Diagnosis } from './diagnosis.ts';
import { forwardedZones } from './corefile.ts';
import { observeFlow } from './flow.ts';
import { lasting, missingPrograms, nodeDiagnoses } from './node-diagnoses.ts';
import { linkDiagnoses, together, type PingSeen } from './node-links.ts';
import { pingNodes } from './ping-nodes.ts';
import { policyOpinions } from './policy-opinions.ts';
import { hasFailed, isExplained, outcomeDiagnoses, worthTracing } from './probe-outcome.ts';
import { planProbes, type PlannedProbe } from './probe-plan.ts';
import { measureAnswers, readControlPlane, readCorefile, readPodEvents, watchLeaders } from './read-control-plane.ts';
import { resolverDiagnoses } from './resolver-diagnoses.ts';
import { sendProbes } from './send-probes.ts';
import { sharedStates } from './shared-states.ts';
import { verdictDiagnosis } from './verdict-diagnosis.ts';
import { readyNodes, visitNodes, type Site } from './visit-nodes.ts';
import { crashDiagnoses, workloadDiagnoses } from './workloads.ts';

export interface Examination {
  readonly findings: readonly Diagnosis[];
  /** What could not be looked at. */
  readonly gaps: readonly string[];
  readonly probes: number;
  readonly failedProbes: number;
  readonly nodes: number;
}

export interface ExamineOptions {
  readonly kube: KubeClients;
  /** Opened when it is first needed; undefined: no node is looked at. */
  readonly openAccess: (() => Promise<OwnNodeAccess>) | undefined;
  readonly log: (message: string) => void;
}

const traceMs = 800;
const traceMostMs = 30_000;
/** Small clusters are tried on every node. */
const canariesMost = 12;

export async function examine({ kube, openAccess, log: write }: ExamineOptions): Promise<Examination> {
  const started = performance.now();
  const log = (message: string): void => write(`${((performance.now() - started) / 1000).toFixed(1)} s  ${message}`);
  const gaps: string[] = [];
  const opening = openAccess?.().catch((error: unknown) => {
    gaps.push(`no node could be looked at: ${messageOf(error)}`);
    return undefined;
  });
  const [objects, controlPlane, corefile, access] = await Promise.all([
    readNetworkObjects(kube),
    readControlPlane(kube),
    readCorefile(kube),
    opening,
  ]);
  if (openAccess === undefined) gaps.push('no node was looked at: node probes were turned off');
  // Later than the clock was read: ages come out too small rather than too large.
  const readAt = performance.now();
  log(`read ${objects.pods.length} pods and ${objects.services.length} Services`);
  const late: Diagnosis[] = [];
  const visiting =
    access === undefined
      ? Promise.resolve<ReadonlyMap<string, Site>>(new Map())
      : visitNodes(access, objects, { gaps, late });
  const ready = readyNodes(objects.nodes).slice(0, canariesMost);
  // After the first node probe runs: pods that start at once make each other slow, and the probes are waited for.
  const anyUp = access === undefined ? undefined : Promise.any(ready.map((node) => access.session(node)));
  const released = Promise.race([anyUp?.catch(() => undefined), visiting]).then(() =>
    access === undefined ? [] : releaseCanaries({ kube, access, nodes: ready, sites: visiting }),
  );
  const [events, answers, sites] = await Promise.all([
    readPodEvents(kube, objects),
    measureAnswers(kube, access?.namespace),
    visiting,
  ]);
  log(`looked at ${sites.size} of ${objects.nodes.length} nodes`);
  const { now } = controlPlane;
  const fromApi = [...workloadDiagnoses({ objects, events, now }), ...resolverDiagnoses(objects)];
  const states = [...sites.values()].map(({ state }) => state);
  const judged = ({ nodes, pods, services, slices }: NetworkObjects): Finding[] =>
    nodeFindings(states, { nodes, pods, services, endpointSlices: slices });
  const plan = planProbes({
    objects,
    opinions: policyOpinions(objects),
    nodes: [...sites.keys()],
    forwardedZones: forwardedZones(corefile),
  });
  const leaders = watchLeaders(kube, controlPlane.leases, () => now + performance.now() - readAt);
  const [results, links, later] = await Promise.all([
    sendProbes(plan, { objects, sites, gaps }),
    examineLinks(objects, sites),
    readNetworkObjects(kube),
  ]);
  const fromNodes = [
    ...nodeDiagnoses(lasting(judged(objects), judged(later)), links.pings),
    ...missingPrograms(states),
  ];
  const failed = results.filter(hasFailed);
  log(`${failed.length} of ${results.length} probes failed`);
  // A busy machine may be slow for a moment: what is slow twice is slow.
  const again = isSlow(answers) ? await measureAnswers(kube, access?.namespace) : answers;
  const fromControlPlane = controlPlaneDiagnoses({
    ...controlPlane,
    ...again,
    nodes: objects.nodes,
    later: await leaders,
  });
  const known = [
    ...fromControlPlane,
    ...fromApi,
    ...crashDiagnoses({ objects: later, now: now + performance.now() - readAt }),
    ...late,
    ...fromNodes,
    ...links.found,
    ...outcomeDiagnoses(results),
  ];
  const visited = access === undefined ? undefined : sharedStates(visitedOnly(sites, access));
  const trace = async (probes: readonly PlannedProbe[], pods: NetworkObjects['pods'] = []): Promise<Diagnosis[]> => {
    if (visited === undefined || probes.length === 0) return [];
    const seen = { ...objects, pods: [...objects.pods, ...pods] };
    const found = await traceAll(probes, { objects: seen, access: visited, gaps });
    log(`traced ${probes.length} of them`);
    return found;
  };
  const [traced, fromCanaries] = await Promise.all([
    trace(worthTracing(results, known)),
    released.then(async (canaries) => {
      const { probes, pods } = canaryProbes(canaries, objects);
      const worth = probes.filter((probe) => !isExplained(probe, known));
      return [...canaryDiagnoses(canaries), ...(await trace(worth, pods))];
    }),
  ]);
  return {
    findings: ranked([...known, ...fromCanaries, ...traced]),
    gaps,
    probes: results.length,
    failedProbes: failed.length,
    nodes: sites.size,
  };
}

/** Loss and slowness may be those of a busy machine: what is seen twice is there. */
async function examineLinks(
  objects: NetworkObjects,
  sites: ReadonlyMap<string, Site>,
): Promise<{ readonly pings: readonly PingSeen[]; readonly found: readonly Diagnosis[] }> {
  const first = await pingNodes(objects, sites);
  const found = linkDiagnoses(first);
  if (!found.some(({ reason }) => reason === 'slow' || reason === 'loss')) return { pings: first, found };
  const second = await pingNodes(objects, sites);
  const stays = new Set(linkDiagnoses(second).map(({ reason }) => reason));
  const pings = together(first, second);
  return { pings, found: linkDiagnoses(pings).filter(({ reason }) => stays.has(reason)) };
}

/** Where no probe came up before, none is waited for again. */
function visitedOnly(sites: ReadonlyMap<string, Site>, access: NodeAccess): NodeAccess {
  const only = (node: string): void => {
    if (!sites.has(node)) throw new Error('no probe came up there');
  };
  return {
    session: async (node) => {
      only(node);
      return access.session(node);
    },
    state: async (node) => {
      only(node);
      return access.state(node);
    },
  };
}

async function traceAll(
  probes: readonly PlannedProbe[],
  { objects, access, gaps }: { objects: NetworkObjects; access: NodeAccess; gaps: string[] },
): Promise<Diagnosis[]> {
  const found = await Promise.all(
    probes.map(async (probe): Promise<Diagnosis | undefined> => {
      try {
        const { from, to, host, port, protocol, payloadOctets = 0 } = probe;
        const tracing = observeFlow({
          objects,
          access,
          from,
          to,
          host,
          port,
          protocol: protocol === 'dns' ? 'udp' : protocol,
          timeoutMs: traceMs,
          payloadOctets,
        });
        const observations = await within(tracing, traceMostMs);
        return verdictDiagnosis({ schema: 1, verdict: judge(observations), observations }, probe);
      } catch (error) {
        gaps.push(`${probe.from.name} to ${probe.to} could not be traced: ${messageOf(error)}`);
        return undefined;
      }
    }),
  );
  return found.filter((one) => one !== undefined);
}

/** Rejects when it takes longer; what goes on then ends with the node probes. */
async function within<T>(work: Promise<T>, mostMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`it took more than ${mostMs / 1000} s`)), mostMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * When policies take hold: how long after the API's answer a flow closes or opens, what gets through meanwhile, whether a new pod is
 * isolated from its first instant, and what becomes of connections that are already there.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import type { ProbePod } from '../../probes/agent/prober.ts';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { familyOf } from '../oracles/reachability/selectors.ts';
import { allow, everyPod, policy, put } from './generator/parts.ts';
import { tablePorts, type CaseAction } from './generator/policy-case.ts';
import { compareTable, expectTable } from './live/compare.ts';
import { openTable, perform, type LiveTable } from './live/live-table.ts';
import { worldShares } from './live/world.ts';
import { closing, opening, percentile, whileSending, type Change, type Flow } from './live/streams.ts';

const { first } = tablePorts;
const requirements = ['000 §15', '003 NetworkPolicy'];

/** A probe of every flow this often: the resolution of what is measured. */
const intervalMs = { udp: 10, tcp: 40 } as const;
const rounds = 5;
/** How long the flows are watched after a change; longer where some have not changed by then. */
const watchMs = 800;
const watchMostMs = 12_000;
/** For the answers to the last probes. */
const answerMs = 250;

interface Direction {
  readonly name: 'ingress' | 'egress';
  readonly close: readonly CaseAction[];
  readonly open: readonly CaseAction[];
  /** Namespaces whose pods reach for those of x. One policy closes them all, so that one answer of the API is the beginning. */
  readonly sources: readonly string[];
}

const directions: readonly Direction[] = [
  {
    name: 'ingress',
    close: put(policy('x/deny', everyPod, allow('ingress'))),
    open: [{ kind: 'delete-policy', in: 'x', name: 'deny' }],
    sources: ['y', 'z'],
  },
  {
    name: 'egress',
    close: put(policy('y/deny', everyPod, allow('egress'))),
    open: [{ kind: 'delete-policy', in: 'y', name: 'deny' }],
    sources: ['y'],
  },
];

export const timeToEnforce = defineCase(
  {
    id: 'network-policy.enforcement.time',
    area: 'network-policy',
    title: 'Policies close and open flows, and how soon',
    description:
      'Pods of other namespaces probe three others continuously over TCP and UDP while a policy that closes all of it, at the servers or at the clients, is created and deleted. Measured are the times from the API’s answer until each flow is closed for good and open for good (p50, p99), and the probes that arrived meanwhile. Every flow MUST follow every change.',
    requirements,
    modes: ['network', 'policy'],
    needs: ['two-nodes', 'network-policy'],
    tags: ['enforcement'],
    // A figure says nothing while other cases keep the machine busy.
    serial: true,
    timeoutMs: 240_000,
  },
  async (t) => {
    const table = await t.step('get a world', () => openTable(t));
    const found: object[] = [];
    for (const { name, close, open, sources } of directions) {
      const flows = crossFlows(table, sources);
      const closed: Change[] = [];
      const opened: Change[] = [];
      for (let round = 0; round < rounds; round++) {
        await t.step(`${name}, round ${round + 1}`, async () => {
          closed.push(...(await changes(table, { flows, actions: close, to: 'closed' })));
          opened.push(...(await changes(table, { flows, actions: open, to: 'open' })));
        });
      }
      report(t, `${name}-denied`, closed);
      report(t, `${name}-allowed`, opened);
      const leaked = closed.reduce((sum, { strays }) => sum + strays, 0);
      t.measure({ name: `${name}-leaked`, value: leaked, unit: 'count' });
      found.push({ direction: name, flows: flows.map(describeFlow), closed, opened });
    }
    await t.attach({
      name: 'enforcement.json',
      content: JSON.stringify({ intervalMs, found }, undefined, 1),
      summary: 'Each change of each flow: when it took hold, and how many probes went astray',
    });
    await t.step('compare every cell', () =>
      expectTable(table, { step: 'after all policies are gone', selection: { others: { chosenBy: t.caseId } } }),
    );
  },
);

/** Pods of those namespaces to those of x, over both protocols. */
function crossFlows({ pods }: LiveTable, sources: readonly string[]): Flow[] {
  const of = (keys: readonly string[]): ProbePod[] =>
    [...pods].filter(([key]) => keys.includes(key.split('/')[0] ?? '')).map(([, pod]) => pod);
  return of(sources).flatMap((source) =>
    of(['x']).flatMap((destination) =>
      (['udp', 'tcp'] as const).map((protocol) => ({
        source,
        destination,
        target: { protocol, host: destination.ip, port: first, intervalMs: intervalMs[protocol], kept: false },
      })),
    ),
  );
}

function describeFlow({ source, destination, target }: Flow): string {
  return `${source.description} to ${destination.description} ${target.protocol}/${target.port}`;
}

/** Makes the change while all flows send, and says what became of each. Fails where a flow does not follow. */
async function changes(
  table: LiveTable,
  change: { readonly flows: readonly Flow[]; readonly actions: readonly CaseAction[]; readonly to: 'closed' | 'open' },
): Promise<Change[]> {
  const { t } = table;
  const { flows, actions, to } = change;
  let changedAt = 0;
  let until = 0;
  const histories = await whileSending(flows, async () => {
    await pause(4 * intervalMs.tcp, undefined, { signal: t.signal });
    await perform(table, actions, 4);
    changedAt = performance.timeOrigin + performance.now();
    await pause(watchMs, undefined, { signal: t.signal });
    // Few cells, seldom: only to know when it is enough.
    const deadlineMs = watchMostMs - watchMs;
    const selection = { others: { chosenBy: t.caseId }, columns: ['pod'] } as const;
    const { wrong } = await compareTable(table, { step: to, selection, deadlineMs });
    expect(wrong.length, `cells that are not ${to} ${watchMostMs} ms after the change`).to.equal(0);
    await pause(answerMs, undefined, { signal: t.signal });
    until = performance.timeOrigin + performance.now() - answerMs;
  });
  return histories.map((history) =>
    to === 'closed' ? closing(history, changedAt) : opening(history, changedAt, until),
  );
}

function report(t: CaseContext, name: string, found: readonly Change[]): void {
  const times = found.flatMap(({ afterMs }) => (afterMs === undefined ? [] : [afterMs]));
  // A flow that did not come to rest while it was watched, though the table did in the end.
  if (times.length < found.length)
    t.flake(`${name}: ${found.length - times.length} flows wavered until the watch ended`);
  for (const share of [0.5, 0.99])
    t.measure({ name: `${name}-p${share * 100}`, value: Math.round(percentile(times, share)), unit: 'ms' });
}

// ---------------------------------------------------------------------------------------------------------------------

const establishedMs = 4_000;

export const established = defineCase(
  {
    id: 'network-policy.enforcement.established',
    area: 'network-policy',
    title: 'What a new policy does to connections that are already there',
    description:
      'A TCP connection and a UDP flow exchange numbered messages while a policy is created that forbids them, once at the server and once at the client. New connections MUST be refused; whether established ones are kept, or cut and after how long, the API leaves open: it is reported.',
    requirements,
    modes: ['network', 'policy'],
    needs: ['two-nodes', 'network-policy'],
    shares: worldShares,
    tags: ['enforcement'],
    timeoutMs: 120_000,
  },
  async (t) => {
    const table = await t.step('get a world', () => openTable(t));
    const told: string[] = [];
    for (const { name, close, open } of directions) {
      const pair = pairOf(table);
      const flows = (['tcp', 'udp'] as const).flatMap((protocol) =>
        [true, false].map((kept): Flow => {
          const target = { protocol, host: pair.destination.ip, port: first, intervalMs: 20, kept };
          return { ...pair, target };
        }),
      );
      let changedAt = 0;
      const histories = await t.step(`${name}: create the policy`, () =>
        whileSending(flows, async () => {
          await pause(500, undefined, { signal: t.signal });
          await perform(table, close, 4);
          changedAt = performance.timeOrigin + performance.now();
          await pause(establishedMs, undefined, { signal: t.signal });
        }),
      );
      for (const history of histories) {
        const { protocol, kept } = history.flow.target;
        const before = history.probes.filter(({ sentAt }) => sentAt < changedAt - answerMs);
        expect(
          before.some(({ answered }) => answered),
          `${protocol} was answered before the policy`,
        ).to.equal(true);
        const { afterMs } = closing(history, changedAt);
        if (!kept) {
          const message = `new ${protocol} flows are still let through ${establishedMs} ms after the policy`;
          expect(afterMs, message).to.be.a('number');
          continue;
        }
        const cut = afterMs !== undefined;
        const value = Math.round(afterMs ?? establishedMs);
        t.measure({ name: `${name}-${protocol}-${cut ? 'cut-after' : 'kept-for'}`, value, unit: 'ms' });
        const fate = cut ? `cut ${value} ms after the policy` : `kept for the ${establishedMs} ms watched`;
        told.push(`A policy of ${name} is created: an established ${protocol.toUpperCase()} flow is ${fate}.`);
      }
      await perform(table, open, 4);
      await t.step(`${name}: compare every cell without the policy`, () =>
        expectTable(table, {
          step: 'without the policy',
          selection: { others: { chosenBy: t.caseId }, columns: ['pod'] },
        }),
      );
    }
    await t.attach({ name: 'behaviour.txt', content: `${told.join('\n')}\n`, summary: told.join(' ') });
  },
);

function pairOf({ pods, t }: LiveTable): { readonly source: ProbePod; readonly destination: ProbePod } {
  const destination = pods.get('x/a');
  const source = [...pods].find(([key, { node }]) => key.startsWith('y/') && node !== destination?.node)?.[1];
  if (source === undefined || destination === undefined) return t.skip('the table has no two pods on two nodes');
  return { source, destination };
}

// ---------------------------------------------------------------------------------------------------------------------

const echoPort = 8090;
/** Connections that an init container tries, the first as soon as the shell runs. */
const tries = 60;

export const newPod = defineCase(
  {
    id: 'network-policy.enforcement.new-pod',
    area: 'network-policy',
    title: 'A new pod is isolated from its first instant',
    description:
      'Pods that a policy isolates are started while it exists. Their init container opens connections from its first instant, and serves; others probe its address as soon as the API shows it. Nothing MUST come in or get out, while pods of the same kind without the policy do reach and are reached.',
    requirements,
    modes: ['network', 'policy'],
    needs: ['two-nodes', 'network-policy'],
    tags: ['enforcement'],
    timeoutMs: 180_000,
  },
  async (t) => {
    const namespace = await t.namespace();
    await t.kube.networking.createNamespacedNetworkPolicy({
      namespace,
      body: {
        metadata: { name: 'isolated' },
        spec: { podSelector: { matchLabels: { isolated: 'yes' } }, policyTypes: ['Ingress', 'Egress'] },
      },
    });
    const nodes = t.cluster.workers.slice(0, 2);
    const server = await t.probes.pod({ name: 'server', namespace, ...(nodes[0] !== undefined && { node: nodes[0] }) });
    const wanted = nodes.flatMap((node, index) => [
      { name: `free-${index}`, node, isolated: false },
      { name: `isolated-${index}a`, node, isolated: true },
      { name: `isolated-${index}b`, node, isolated: true },
    ]);
    const seen = await t.step('start the pods', () =>
      Promise.all(wanted.map((one) => watchStart(t, { ...one, namespace, server }))),
    );
    const lines = seen.map(
      ({ name, sent, reached, received }) =>
        `${name}: ${sent.length} of ${tries} of its connections arrived${sent.length > 0 ? `, the first as number ${Math.min(...sent)}` : ''}; of ${received} probes of it ${reached} were answered`,
    );
    await t.attach({
      name: 'first-instants.txt',
      content: `${lines.join('\n')}\n`,
      summary: 'What each pod reached, and was reached by',
    });
    const free = seen.filter(({ isolated }) => !isolated);
    const isolated = seen.filter((one) => one.isolated);
    t.measure({ name: 'arrived-from-isolated', value: sum(isolated.map(({ sent }) => sent.length)), unit: 'count' });
    t.measure({ name: 'reached-isolated', value: sum(isolated.map(({ reached }) => reached)), unit: 'count' });
    t.measure({ name: 'lost-by-free', value: sum(free.map(({ sent }) => tries - sent.length)), unit: 'count' });
    // Positive control: the very same pods without the policy.
    for (const { name, sent, reached } of free) {
      expect(sent.length, `connections of ${name}, which no policy selects, that arrived`).to.be.greaterThan(0);
      expect(reached, `answers of ${name}, which no policy selects`).to.be.greaterThan(0);
    }
    for (const { name, sent, reached } of isolated) {
      expect(sent.length, `connections of ${name} that arrived although it is isolated`).to.equal(0);
      expect(reached, `answers of ${name} although it is isolated`).to.equal(0);
    }
  },
);

interface Starting {
  readonly name: string;
  readonly node: string;
  readonly isolated: boolean;
  readonly namespace: string;
  readonly server: ProbePod;
}

/** Starts the pod and probes it as soon as it has an address, until its agent has run for a while. */
async function watchStart(t: CaseContext, { name, node, isolated, namespace, server }: Starting) {
  const serve = `/bin/busybox nc -ll -p ${echoPort} -e /bin/busybox cat`;
  const connect = `echo first-${name}-$i | /bin/busybox nc -w 2 ${server.ip} ${first} >/dev/null 2>&1`;
  const script = `${serve} & i=0; while [ $i -lt ${tries} ]; do (${connect}) & i=$((i+1)); /bin/busybox sleep 0.03; done; /bin/busybox sleep 1`;
  const starting = t.probes.pod({
    name,
    node,
    namespace,
    labels: isolated ? { isolated: 'yes' } : {},
    listen: [{ protocol: 'tcp', port: echoPort }],
    spec: {
      initContainers: [
        {
          name: 'first',
          image: t.images.probe,
          imagePullPolicy: 'IfNotPresent',
          command: ['/bin/busybox', 'sh', '-c', script],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  });
  const addressed = t.kube.waitForObject(
    { apiVersion: 'v1', kind: 'Pod', namespace, name },
    (object) => {
      const ips = ((object as { status?: { podIPs?: { ip: string }[] } } | undefined)?.status?.podIPs ?? []).map(
        ({ ip }) => ip,
      );
      const ip = ips.find((one) => familyOf(one) === familyOf(server.ip));
      return ip === undefined ? pending('it has no address') : done(ip);
    },
    { description: `pod ${name} to have an address`, timeoutMs: 90_000, signal: t.signal },
  );
  // Its own failure is told below, where it is awaited.
  starting.catch(() => undefined);
  const host = await addressed;
  const stream = await server.stream([{ protocol: 'tcp', host, port: echoPort, intervalMs: 20, kept: false }]);
  let outcomes: Awaited<ReturnType<typeof stream.stop>> = [];
  try {
    await starting;
    await pause(500, undefined, { signal: t.signal });
  } finally {
    outcomes = await stream.stop();
  }
  const nonces = Array.from({ length: tries }, (_, index) => `first-${name}-${index}`);
  const receipts = await server.receipts(nonces);
  const { latencyMs = [] } = outcomes[0] ?? {};
  return {
    name,
    isolated,
    sent: receipts.map(({ nonce }) => Number(nonce.split('-').at(-1))),
    received: latencyMs.length,
    reached: latencyMs.filter((latency) => latency >= 0).length,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, one) => total + one, 0);
}

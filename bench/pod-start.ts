// SPDX-License-Identifier: Apache-2.0
/**
 * From the create request to Ready, by the arrival of watch events at the client: one pod after the other, and ten at once. A stage whose
 * event never came by itself counts as reached with the next one, as a client sees it.
 */
import { randomBytes } from 'node:crypto';
import { ApiClient, Lines } from './api-client.ts';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import { targets, type TargetCluster } from './cluster.ts';
import { unlessAborted } from './processes.ts';

const stages = ['scheduled', 'sandbox', 'started', 'ready'] as const;
type Stage = (typeof stages)[number];

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly state?: { readonly running?: object } }[];
  };
}

interface Journey {
  readonly created: number;
  readonly reached: Map<Stage, number>;
  readonly ready: PromiseWithResolvers<void>;
  readonly gone: PromiseWithResolvers<number>;
}

interface Field {
  readonly subject: string;
  readonly client: ApiClient;
  readonly path: string;
  readonly image: string;
  readonly journeys: Map<string, Journey>;
}

const batch = 10;
const limitMs = 60_000;
const defaultPeerImage = 'registry.k8s.io/pause:3.10';

export const podStart: Benchmark = {
  name: 'pod-start',
  about: 'pod create to Ready, 30 one by one and 30 by tens, stage by stage; beside another cluster',
  async run(bench) {
    const { quick, runs } = bench.options;
    const count = runs ?? (quick ? 10 : 30);
    const fields: Field[] = [];
    for (const target of await targets(bench)) fields.push(await openField(bench, target));
    // Images are there after the first pods, and everybody's code has run once.
    for (const field of fields) await startPods(bench, field, 6);
    bench.log(`${count} pods one by one`);
    for (let pod = 0; pod < count; pod++) {
      for (const field of fields)
        record(bench, field, { mode: 'one by one', journeys: await startPods(bench, field, 1) });
    }
    bench.log(`${count} pods, ${batch} at a time`);
    for (let pod = 0; pod < count; pod += batch) {
      for (const field of fields) {
        record(bench, field, { mode: `${batch} at once`, journeys: await startPods(bench, field, batch) });
      }
    }
  },
};

async function openField(bench: Bench, { subject, endpoint }: TargetCluster): Promise<Field> {
  const client = new ApiClient(endpoint);
  const namespace = `bench-${randomBytes(3).toString('hex')}`;
  const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  await client.json('POST', '/api/v1/namespaces', body);
  bench.onCleanup(async () => {
    await client.request('DELETE', `/api/v1/namespaces/${namespace}`);
    client.close();
  });
  await serviceAccount(bench, client, namespace);
  const journeys = new Map<string, Journey>();
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const lines = new Lines((line) => note(journeys, JSON.parse(line) as { type: string; object: Pod }));
  await client.watch(`${path}?watch=true`, lines.push);
  const image =
    subject === ours
      ? (process.env['PLUMB_BENCH_IMAGE'] ?? 'plumbline.local/pause:1')
      : (process.env['PLUMB_PEER_IMAGE'] ?? defaultPeerImage);
  return { subject, client, path, image, journeys };
}

/** Pods are refused before a controller has made the account. */
async function serviceAccount(bench: Bench, client: ApiClient, namespace: string): Promise<void> {
  const seen = Promise.withResolvers<void>();
  const query = '?watch=true&fieldSelector=metadata.name%3Ddefault';
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts${query}`;
  const watch = await client.watch(path, () => seen.resolve());
  await unlessAborted(seen.promise, bench.signal);
  watch.close();
}

function note(journeys: ReadonlyMap<string, Journey>, event: { type: string; object: Pod }): void {
  const now = performance.now();
  const { metadata, spec, status } = event.object;
  const journey = journeys.get(metadata.name);
  if (journey === undefined) return;
  if (event.type === 'DELETED') {
    journey.gone.resolve(now);
    return;
  }
  const holds = (type: string): boolean =>
    status?.conditions?.some((one) => one.type === type && one.status === 'True') === true;
  const reached: Record<Stage, boolean> = {
    scheduled: (spec.nodeName ?? '') !== '',
    sandbox: holds('PodReadyToStartContainers'),
    started: status?.containerStatuses?.some(({ state }) => state?.running !== undefined) === true,
    ready: holds('Ready'),
  };
  for (const stage of stages) {
    if (reached[stage] && !journey.reached.has(stage)) journey.reached.set(stage, now);
  }
  if (reached.ready) journey.ready.resolve();
}

/** Starts pods at once, waits until all are Ready, and deletes them. */
async function startPods(bench: Bench, field: Field, count: number): Promise<Journey[]> {
  const { client, path, image, journeys } = field;
  const names = Array.from({ length: count }, () => `start-${randomBytes(4).toString('hex')}`);
  const own = names.map((name): Journey => {
    const journey = {
      created: performance.now(),
      reached: new Map<Stage, number>(),
      ready: Promise.withResolvers<void>(),
      gone: Promise.withResolvers<number>(),
    };
    journeys.set(name, journey);
    return journey;
  });
  const within = <T>(what: string, promise: Promise<T>): Promise<T> =>
    unlessAborted(promise, AbortSignal.any([bench.signal, AbortSignal.timeout(limitMs)])).catch((error: unknown) => {
      throw new Error(`${field.subject}: pods were not ${what} within ${limitMs / 1000} s: ${String(error)}`);
    });
  await Promise.all(names.map((name) => client.json('POST', path, pod(name, image))));
  await within('Ready', Promise.all(own.map(({ ready }) => ready.promise)));
  await Promise.all(names.map((name) => client.request('DELETE', `${path}/${name}?gracePeriodSeconds=1`)));
  await within('gone', Promise.all(own.map(({ gone }) => gone.promise)));
  for (const name of names) journeys.delete(name);
  return own;
}

function pod(name: string, image: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'pause', image, imagePullPolicy: 'IfNotPresent' }],
    },
  };
}

const titles: Record<Stage, string> = {
  scheduled: 'create to scheduled',
  sandbox: 'scheduled to sandbox',
  started: 'sandbox to started',
  ready: 'started to Ready',
};

function record(bench: Bench, { subject }: Field, what: { mode: string; journeys: readonly Journey[] }): void {
  for (const { created, reached } of what.journeys) {
    const ready = reached.get('ready') ?? Number.NaN;
    add(`create to Ready, ${what.mode}`, ready - created);
    let before = created;
    for (const [index, stage] of stages.entries()) {
      const at = Math.min(...stages.slice(index).map((later) => reached.get(later) ?? Infinity));
      add(`  ${titles[stage]}, ${what.mode}`, at - before);
      before = at;
    }
  }
  function add(name: string, ms: number): void {
    bench.record({ name, unit: 'ms', better: 'lower' }, subject, [ms]);
  }
}

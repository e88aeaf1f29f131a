// SPDX-License-Identifier: Apache-2.0
/**
 * The client side of the API benchmarks, in a process of its own, so that its event loop is nobody else's. Started by `load.ts`, which also
 * declares what can be asked; answers each order with one message.
 */
import { ApiClient, Lines } from './api-client.ts';
import { loadPod, podName } from './load-objects.ts';
import { processorSeconds } from './processes.ts';
import type { LoadOperations, LoadOrder, LoadReply } from './load.ts';

const clients = new Map<string, ApiClient>();
/** As many as a busy controller has requests under way. */
const workers = 32;
/** Requests are spread over a few connections, as several clients would. */
const connections = 4;
const listWorkers = 4;
const drainLimitMs = 15_000;
let serial = 0;

type Handlers = {
  [Name in keyof LoadOperations]: (input: LoadOperations[Name]['in']) => Promise<LoadOperations[Name]['out']>;
};

const handlers: Handlers = {
  async create({ endpoint, path, objects }) {
    const client = clientFor(endpoint);
    const queue = objects.values();
    await inParallel(workers, async () => {
      for (const object of queue) await client.json('POST', path, object);
    });
    return {};
  },

  async repeat({ endpoint, namespace, operation, durationMs, pods }) {
    const client = clientFor(endpoint);
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const latencies: number[] = [];
    const start = performance.now();
    let end = start;
    await inParallel(operation === 'list' ? listWorkers : workers, async (worker) => {
      // Each worker has pods of its own, so that no two write the same one.
      for (let turn = worker; performance.now() - start < durationMs; turn += workers) {
        const began = performance.now();
        await requests[operation](client, path, podName(turn % pods));
        end = performance.now();
        latencies.push(end - began);
      }
    });
    return { count: latencies.length, elapsedMs: end - start, latencies };
  },

  async fanOut({ endpoint, namespace, watchers, durationMs, pods, serverPid }) {
    const writer = clientFor(endpoint);
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const { metadata } = await writer.json<{ metadata: { resourceVersion: string } }>('GET', `${path}?limit=1`);
    const watch = `${path}?watch=true&resourceVersion=${metadata.resourceVersion}`;
    const own = Array.from({ length: watchers }, () => new ApiClient(endpoint));
    try {
      const seen = { events: 0, last: 0, writes: 0 };
      const count = (chunk: Buffer): void => {
        // One line is one event; parsing them would measure this client.
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) seen.events++;
        seen.last = performance.now();
      };
      await Promise.all(own.map((client) => client.watch(watch, count)));
      const processor = processorSeconds(serverPid);
      const start = performance.now();
      await inParallel(workers, async (worker) => {
        for (let turn = worker; performance.now() - start < durationMs; turn += workers) {
          await requests.patch(writer, path, podName(turn % pods));
          seen.writes++;
        }
      });
      const deadline = performance.now() + drainLimitMs;
      const lost = (): number => seen.writes * watchers - seen.events;
      while (lost() > 0 && performance.now() < deadline) await pause(5);
      return {
        events: seen.events,
        lost: lost(),
        elapsedMs: seen.last - start,
        processorSeconds: processorSeconds(serverPid) - processor,
      };
    } finally {
      for (const client of own) client.close();
    }
  },

  async watchLatency({ endpoint, namespace, samples }) {
    const client = clientFor(endpoint);
    const watching = new ApiClient(endpoint);
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const { metadata } = await client.json<{ metadata: { resourceVersion: string } }>('GET', `${path}?limit=1`);
    try {
      let seen = Promise.withResolvers<number>();
      await watching.watch(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`, () =>
        seen.resolve(performance.now()),
      );
      const latencies: number[] = [];
      for (let sample = 0; sample < samples; sample++) {
        seen = Promise.withResolvers<number>();
        const began = performance.now();
        await requests.patch(client, path, podName(0));
        latencies.push((await seen.promise) - began);
      }
      return { latencies };
    } finally {
      watching.close();
    }
  },

  async awaitBindings({ endpoint, namespace, count, timeoutMs }) {
    const client = new ApiClient(endpoint);
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const times = new Map<string, number>();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`${times.size} of ${count} pods were bound in ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    const lines = new Lines((line) => {
      // Cheaper than parsing, and enough: only a binding brings this field.
      if (!line.includes('"nodeName":"')) return;
      const { object } = JSON.parse(line) as { object: { metadata: { name: string } } };
      if (!times.has(object.metadata.name)) times.set(object.metadata.name, Date.now());
      if (times.size === count) resolve();
    });
    try {
      const { metadata } = await client.json<{ metadata: { resourceVersion: string } }>('GET', `${path}?limit=1`);
      await client.watch(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`, lines.push);
      process.send?.({ id: -1, output: 'watching' });
      await promise;
    } finally {
      clearTimeout(timer);
      client.close();
    }
    return { boundAt: [...times.values()] };
  },
};

const requests = {
  get: (client: ApiClient, path: string, name: string) => accepted(client.request('GET', `${path}/${name}`)),
  list: (client: ApiClient, path: string) => accepted(client.request('GET', path)),
  create: (client: ApiClient, path: string) =>
    accepted(client.request('POST', path, loadPod(`created-${process.pid}-${serial++}`))),
  patch: (client: ApiClient, path: string, name: string) => {
    const body = { metadata: { annotations: { 'bench.plumbline.io/turn': String(serial++) } } };
    return accepted(client.request('PATCH', `${path}/${name}`, body, 'application/strategic-merge-patch+json'));
  },
  /** As a kubelet reports: a strategic merge patch of the conditions. */
  status: (client: ApiClient, path: string, name: string) => {
    const time = new Date(Date.UTC(2026, 0, 1) + serial++ * 1000).toISOString().replace('.000', '');
    const condition = { type: 'Ready', status: serial % 2 === 0 ? 'True' : 'False', lastTransitionTime: time };
    const body = { status: { phase: 'Running', conditions: [condition] } };
    const type = 'application/strategic-merge-patch+json';
    return accepted(client.request('PATCH', `${path}/${name}/status`, body, type));
  },
};

async function accepted(reply: Promise<{ status: number; body: Buffer }>): Promise<void> {
  const { status, body } = await reply;
  if (status >= 300) throw new Error(`the server answered ${status}: ${body.toString().slice(0, 300)}`);
}

function clientFor(endpoint: LoadOperations['create']['in']['endpoint']): ApiClient {
  const known = clients.get(endpoint.server);
  if (known !== undefined) return known;
  const fresh = new ApiClient(endpoint, connections);
  clients.set(endpoint.server, fresh);
  return fresh;
}

async function inParallel(count: number, body: (worker: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, worker) => body(worker)));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function answer({ id, operation, input }: LoadOrder): Promise<LoadReply> {
  try {
    const handler = handlers[operation] as (input: unknown) => Promise<unknown>;
    return { id, output: await handler(input) };
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) };
  }
}

process.on('message', (order: LoadOrder) => void answer(order).then((reply) => process.send?.(reply)));
// The benchmark is gone: so is the reason to be here.
process.on('disconnect', () => process.exit());

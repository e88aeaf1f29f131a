// SPDX-License-Identifier: Apache-2.0
/**
 * A node for kube-proxies, in a network namespace of its own, without anything else of a node: endpoints that answer, a client that
 * tries, and a way to the API server at the same address as outside. Started by `services-world.ts`; one JSON line per order and answer.
 */
import { execFileSync } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

export type NodeOrder =
  /** Connects until one connection is answered; `by` then says which endpoint it was. */
  | { readonly do: 'reach'; readonly address: string; readonly port: number; readonly timeoutMs: number }
  /** Connects every few milliseconds until `stop`; the answer comes then. */
  | { readonly do: 'watch'; readonly address: string; readonly port: number }
  | { readonly do: 'stop' };

export interface NodeReply {
  /** Milliseconds of the machine's monotonic clock, which all processes share, at which the first answer was there. */
  readonly at?: number;
  readonly by?: string;
  /** Of `watch`: when each connection began, and who answered. */
  readonly answers?: readonly { readonly at: number; readonly by: string }[];
  readonly failures?: number;
}

const [socketPath = '', apiPort = ''] = process.argv.slice(2);
/** Addresses of endpoints; all are the node's own, so that reaching them is a matter of the proxy alone. */
export const endpointAddresses = ['10.244.0.2', '10.244.0.3'] as const;
export const endpointPort = 8080;
const watchEveryMs = 5;

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

async function main(): Promise<void> {
  const ip = (...args: string[]): Buffer => execFileSync('ip', args);
  ip('link', 'set', 'lo', 'up');
  // A packet to a Service needs a route before it is translated; this one leads nowhere.
  ip('link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'void');
  ip('address', 'add', '172.18.0.2/24', 'dev', 'out');
  ip('link', 'set', 'out', 'up');
  ip('link', 'set', 'void', 'up');
  ip('route', 'add', 'default', 'via', '172.18.0.1', 'dev', 'out');
  for (const address of endpointAddresses) {
    ip('address', 'add', `${address}/32`, 'dev', 'lo');
    createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(address);
    }).listen(endpointPort, address);
  }
  createServer((socket) => {
    const outside = connect(socketPath);
    socket.on('error', () => outside.destroy());
    outside.on('error', () => socket.destroy());
    socket.pipe(outside).pipe(socket);
  }).listen(Number(apiPort), '127.0.0.1', () => process.stdout.write('ready\n'));

  let watching: { running: boolean; done: Promise<NodeReply> } | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line) as NodeOrder;
    let reply: NodeReply = {};
    if (order.do === 'reach') reply = await reach(order);
    else if (order.do === 'watch') {
      const state = { running: true };
      watching = Object.assign(state, { done: watch(order, state) });
    } else if (watching !== undefined) {
      watching.running = false;
      reply = await watching.done;
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
  process.exit(0);
}

/** Tries again and again without waiting for earlier tries: a first packet may have gone into the void. */
async function reach({ address, port, timeoutMs }: Extract<NodeOrder, { do: 'reach' }>): Promise<NodeReply> {
  const start = monotonicMs();
  const pending = new Set<AbortController>();
  const answered = Promise.withResolvers<NodeReply>();
  const state = { over: false };
  while (!state.over && monotonicMs() - start < timeoutMs) {
    const attempt = new AbortController();
    pending.add(attempt);
    ask(address, port, attempt.signal).then(
      (by) => {
        state.over = true;
        answered.resolve({ at: monotonicMs(), by });
      },
      () => pending.delete(attempt),
    );
    const elapsed = monotonicMs() - start;
    await new Promise((resolve) => setTimeout(resolve, Math.min(20, Math.max(1, elapsed / 50))));
  }
  answered.resolve({});
  const reply = await answered.promise;
  for (const attempt of pending) attempt.abort();
  return reply;
}

async function watch(
  { address, port }: { address: string; port: number },
  state: { readonly running: boolean },
): Promise<NodeReply> {
  const answers: { at: number; by: string }[] = [];
  let failures = 0;
  const open = new Set<Promise<void>>();
  while (state.running) {
    const at = monotonicMs();
    const attempt = ask(address, port, AbortSignal.timeout(3_000)).then(
      (by) => void answers.push({ at, by }),
      () => void failures++,
    );
    open.add(attempt);
    void attempt.finally(() => open.delete(attempt));
    await new Promise((resolve) => setTimeout(resolve, watchEveryMs));
  }
  await Promise.all(open);
  return { answers, failures };
}

function ask(host: string, port: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const stop = (): void => void socket.destroy(new Error('given up'));
    signal.addEventListener('abort', stop, { once: true });
    let said = '';
    socket.on('data', (data) => (said += data.toString()));
    socket.on('error', reject);
    socket.on('close', () => {
      signal.removeEventListener('abort', stop);
      if (said === '') reject(new Error('no answer'));
      else resolve(said);
    });
  });
}

if (process.argv[1] === import.meta.filename) await main();

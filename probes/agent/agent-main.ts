// SPDX-License-Identifier: Apache-2.0
/**
 * The program in the probe pod. As the container's main process it listens on the ports given in PLUMB_LISTEN (`tcp/8080,udp/8080`)
 * and takes orders on its loopback control port; with the argument `stdio` it takes orders on its own stdin instead, which is how
 * node probes run it: a port on a node's loopback would be open to everybody there. `node` and `keeper` are for node sessions.
 */
import { lookup } from 'node:dns/promises';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import { askDns } from '../dns/query.ts';
import { keepNamespace } from '../node-session/keeper-main.ts';
import { serveSession } from '../node-session/session-main.ts';
import { runAttempts } from './attempts.ts';
import { Listeners } from './listeners.ts';
import { Streams } from './streams.ts';
import {
  controlPort,
  protocolVersion,
  type AgentReply,
  type AgentRequest,
  type Listen,
  type OperationName,
  type Operations,
} from './protocol.ts';

const listeners = new Listeners();
const streams = new Streams();

type Handlers = { [Name in OperationName]: (input: Operations[Name]['in']) => Promise<Operations[Name]['out']> };

const handlers: Handlers = {
  hello: async () => ({ version: protocolVersion, hostname: hostname(), pid: process.pid }),
  listen: async ({ listen }) => {
    await listeners.open(listen);
    return { listening: listeners.listening };
  },
  unlisten: async ({ listen }) => {
    listeners.close(listen);
    return { listening: listeners.listening };
  },
  attempt: async ({ attempts, concurrency }) => ({ results: await runAttempts(attempts, concurrency) }),
  receipts: async ({ nonces }) => ({ receipts: listeners.receipts(nonces) }),
  'stream-start': async ({ stream, targets }) => {
    streams.start(stream, targets);
    return {};
  },
  'stream-stop': async ({ stream }) => ({ outcomes: streams.stop(stream) }),
  'stream-receipts': async ({ stream }) => ({ receipts: listeners.receiptsOfStream(stream) }),
  clock: async () => ({ now: performance.timeOrigin + performance.now() }),
  dns: async ({ questions }) => ({ results: await Promise.all(questions.map(askDns)) }),
  resolve: async ({ name, family }) => {
    try {
      const found = await lookup(name, { all: true, family });
      return { addresses: found.map(({ address }) => address) };
    } catch (error) {
      return { addresses: [], error: error instanceof Error ? error.message : String(error) };
    }
  },
};

async function answer(line: string): Promise<AgentReply | undefined> {
  let request: AgentRequest;
  try {
    request = JSON.parse(line) as AgentRequest;
  } catch {
    return undefined;
  }
  const handler = Object.hasOwn(handlers, request.operation) ? handlers[request.operation] : undefined;
  if (handler === undefined) return { id: request.id, error: `unknown operation ${request.operation}` };
  try {
    return { id: request.id, output: await handler(request.input as never) };
  } catch (error) {
    return { id: request.id, error: error instanceof Error ? error.message : String(error) };
  }
}

function converse(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): void {
  const lines = createInterface({ input, crlfDelay: Infinity });
  lines.on('line', (line) => {
    void answer(line).then((reply) => {
      if (reply !== undefined && output.writable) output.write(`${JSON.stringify(reply)}\n`);
    });
  });
  lines.on('error', () => lines.close());
}

function parseListen(text: string): Listen[] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [protocol, port] = part.split('/');
      if ((protocol !== 'tcp' && protocol !== 'udp') || !(Number(port) > 0)) {
        throw new Error(`PLUMB_LISTEN: "${part}" is not tcp/PORT or udp/PORT`);
      }
      return { protocol, port: Number(port) };
    });
}

async function main(): Promise<void> {
  if (process.argv[2] === 'node') return serveSession();
  process.once('SIGTERM', () => process.exit(0));
  if (process.argv[2] === 'keeper') return keepNamespace();
  if (process.argv[2] === 'stdio') {
    converse(process.stdin, process.stdout);
    process.stdin.once('end', () => process.exit(0));
    return;
  }
  await listeners.open(parseListen(process.env['PLUMB_LISTEN'] ?? ''));
  const control = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    converse(socket, socket);
  });
  control.listen(controlPort, '127.0.0.1');
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});

// SPDX-License-Identifier: Apache-2.0
// A process inside a network namespace of its own, driven by JSON lines on stdin: it serves TCP and UDP echo on port
// 8080 (the reply names the server and the source that it saw), tries connections, and reconciles routes.

import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

import { reconcileRoutes } from '../routes.ts';
import type { Route } from '../routes.ts';

export type PeerRequest =
  | { readonly do: 'connect'; readonly protocol: 'tcp' | 'udp'; readonly host: string; readonly port: number }
  /** Opens a TCP connection that stays, or takes a UDP port for all that follows; then `send` uses it. */
  | { readonly do: 'open'; readonly protocol: 'tcp' | 'udp'; readonly host: string; readonly port: number }
  | { readonly do: 'send' }
  /** Sends a UDP datagram from one new port after the other for so long; the reply's text is their number. */
  | { readonly do: 'scatter'; readonly host: string; readonly port: number; readonly ms: number }
  | { readonly do: 'routes'; readonly routes: readonly Route[] };

export interface PeerReply {
  /** `name source` of the server, or why there is none: `timeout`, `ECONNREFUSED`... */
  readonly text: string;
  readonly ms: number;
}

const [name = ''] = process.argv.slice(2);
const timeoutMs = 400;
let kept: { send(): void; once(event: 'data' | 'error', listener: (value: Buffer | Error) => void): void } | undefined;

const tcp = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.on('data', () => socket.write(`${name} ${socket.remoteAddress?.replace('::ffff:', '')}`));
});
const udp = createSocket('udp6');
udp.on('message', (_message, from) =>
  udp.send(`${name} ${from.address.replace('::ffff:', '')}`, from.port, from.address),
);
tcp.listen(8080, '::', () => udp.bind(8080, '::', () => process.stdout.write('ready\n')));

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const request = JSON.parse(line) as PeerRequest;
    const startedAt = performance.now();
    void perform(request).then((text) => {
      const reply: PeerReply = { text, ms: performance.now() - startedAt };
      process.stdout.write(`${JSON.stringify(reply)}\n`);
    });
  })
  .on('close', () => process.exit(0));

async function perform(request: PeerRequest): Promise<string> {
  switch (request.do) {
    case 'connect':
      return request.protocol === 'tcp' ? askTcp(request.host, request.port) : askUdp(request.host, request.port);
    case 'open':
      kept =
        request.protocol === 'tcp' ? keepTcp(request.host, request.port) : await keepUdp(request.host, request.port);
      return ask();
    case 'send':
      return ask();
    case 'scatter':
      return String(await scatter(request));
    case 'routes': {
      const errors: string[] = [];
      const changes = await reconcileRoutes(request.routes, (error) => errors.push(error.message));
      return [...changes.map(({ verb, route }) => `${verb} ${route.destination}`), ...errors].join(', ');
    }
  }
}

async function scatter({ host, port, ms }: Extract<PeerRequest, { do: 'scatter' }>): Promise<number> {
  const end = performance.now() + ms;
  let sent = 0;
  const sendOne = async (): Promise<void> => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => undefined);
    await new Promise<void>((resolve) => socket.send('?', port, host, () => resolve()));
    socket.close();
    sent += 1;
  };
  while (performance.now() < end) await Promise.all(Array.from({ length: 16 }, sendOne));
  return sent;
}

function keepTcp(host: string, port: number): NonNullable<typeof kept> {
  const socket = connect(port, host);
  return { send: () => socket.write('?'), once: (event, listener) => socket.once(event, listener) };
}

async function keepUdp(host: string, port: number): Promise<NonNullable<typeof kept>> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve) => socket.connect(port, host, resolve));
  return {
    send: () => socket.send('?'),
    once: (event, listener) => socket.once(event === 'data' ? 'message' : event, listener),
  };
}

/** One exchange on what is kept open. */
function ask(): Promise<string> {
  return new Promise((resolve) => {
    if (kept === undefined) return resolve('not open');
    const timer = setTimeout(resolve, timeoutMs, 'timeout');
    kept.once('data', (data) => {
      clearTimeout(timer);
      resolve(String(data));
    });
    kept.once('error', (error) => resolve(error instanceof Error ? error.message : 'error'));
    kept.send();
  });
}

function askTcp(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => socket.write('?'));
    const finish = (text: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(finish, timeoutMs, 'timeout');
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('data', (data) => finish(data.toString()));
  });
}

function askUdp(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const finish = (text: string): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.close();
      resolve(text);
    };
    const timer = setTimeout(finish, timeoutMs, 'timeout');
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('message', (data) => finish(data.toString()));
    socket.connect(port, host, () => socket.send('?'));
  });
}

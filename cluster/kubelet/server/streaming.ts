// SPDX-License-Identifier: Apache-2.0
// exec, attach and port-forward. A SPDY client's bytes go to the runtime's streaming server as they are. A WebSocket client (v5 or v4 channels) is
// bridged to the runtime's SPDY streams, with half-close of stdin; SPDY inside WebSocket is unwrapped.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { describeError } from '../../machinery/log.ts';
import { connectSpdy } from './spdy-client.ts';
import type { SpdyStream } from './spdy-client.ts';
import { WebSocketConnection } from './web-socket.ts';

export interface StreamSet {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

const channelProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
];
const tunnelProtocol = 'SPDY/3.1+portforward.k8s.io';
const remoteCommandProtocols = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'];

export function isWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** exec or attach: `url` is what the runtime gave for it. */
export async function serveRemoteCommand(upgrade: Upgrade, url: string, streams: StreamSet): Promise<void> {
  if (!isWebSocket(upgrade.request)) return passThrough(upgrade, url);
  const offered = protocolsOf(upgrade.request);
  const protocol = channelProtocols.find((candidate) => offered.includes(candidate));
  if (protocol === undefined && offered.length > 0) {
    return refuse(
      upgrade.socket,
      400,
      `unable to negotiate protocol: client supports ${offered.join(',')}, server accepts ${channelProtocols.join(',')}`,
    );
  }
  const client = acceptWebSocket(upgrade, protocol);
  try {
    await bridge(client, { url, streams, protocol: protocol ?? 'channel.k8s.io' });
  } catch (error) {
    const status = {
      metadata: {},
      status: 'Failure',
      message: describeError(error),
      reason: 'InternalError',
      code: 500,
    };
    client.send(Buffer.concat([Buffer.from([3]), Buffer.from(JSON.stringify(status))]));
    client.close(1011, 'internal error');
  }
}

export async function servePortForward(upgrade: Upgrade, url: string): Promise<void> {
  const offered = isWebSocket(upgrade.request) ? protocolsOf(upgrade.request) : [];
  if (!offered.includes(tunnelProtocol)) return passThrough(upgrade, url);
  const client = acceptWebSocket(upgrade, tunnelProtocol);
  const { connection } = await connectSpdyRaw(url);
  connection.on('data', (chunk: Buffer) => {
    if (client.send(chunk)) return;
    connection.pause();
    client.socket.once('drain', () => connection.resume());
  });
  connection.on('end', () => client.close(1000, ''));
  connection.on('error', () => client.close(1011, 'runtime connection broke'));
  client.onMessage = (data) => {
    if (connection.write(data)) return;
    client.socket.pause();
    connection.once('drain', () => client.socket.resume());
  };
  client.onClose = () => connection.destroy();
}

/** The bytes of an upgraded connection to the runtime's port-forward server. */
async function connectSpdyRaw(url: string): Promise<{ connection: Duplex }> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const outgoing = request(url, {
      method: 'POST',
      agent: false,
      headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'portforward.k8s.io' },
    });
    outgoing.on('upgrade', (_, socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve({ connection: socket });
    });
    outgoing.on('response', (response) =>
      reject(new Error(`the runtime's streaming server answered ${response.statusCode}`)),
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/** Copies the upgrade request and then all bytes both ways. */
function passThrough(upgrade: Upgrade, url: string): Promise<void> {
  const target = new URL(url);
  const { request, socket, head } = upgrade;
  return new Promise((resolve, reject) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) });
    upstream.once('error', reject);
    upstream.once('connect', () => {
      upstream.off('error', reject);
      upstream.setNoDelay(true);
      let text = `${request.method} ${target.pathname}${target.search} HTTP/1.1\r\nHost: ${target.host}\r\n`;
      for (let index = 0; index < request.rawHeaders.length; index += 2) {
        const name = request.rawHeaders[index] ?? '';
        // Identity of the caller ends here; so does a body's length, as there is none.
        if (/^(host|authorization|content-length|transfer-encoding|origin)$/i.test(name)) continue;
        text += `${name}: ${request.rawHeaders[index + 1] ?? ''}\r\n`;
      }
      upstream.write(`${text}\r\n`);
      if (head.length > 0) upstream.write(head);
      const drop = (): void => {
        upstream.destroy();
        socket.destroy();
      };
      upstream.on('error', drop);
      socket.on('error', drop);
      upstream.on('close', () => socket.end());
      socket.on('close', () => upstream.destroy());
      upstream.pipe(socket);
      socket.pipe(upstream);
      resolve();
    });
  });
}

function acceptWebSocket(upgrade: Upgrade, protocol: string | undefined): WebSocketConnection {
  const key = upgrade.request.headers['sec-websocket-key'] ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  upgrade.socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n` +
      (protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`) +
      '\r\n',
  );
  return new WebSocketConnection(upgrade.socket, upgrade.head);
}

function protocolsOf(request: IncomingMessage): string[] {
  return (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => protocol !== '');
}

function refuse(socket: Duplex, status: number, message: string): void {
  socket.end(
    `HTTP/1.1 ${status} Bad Request\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(message)}\r\nConnection: close\r\n\r\n${message}`,
  );
}

const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

async function bridge(
  client: WebSocketConnection,
  options: { url: string; streams: StreamSet; protocol: string },
): Promise<void> {
  const { streams, protocol } = options;
  const early: Buffer[] = [];
  client.onMessage = (data) => early.push(data);
  const { connection } = await connectSpdy(options.url, remoteCommandProtocols);
  const outputs: Promise<void>[] = [];
  const send = (channel: number, data: Buffer): void => {
    if (client.send(Buffer.concat([Buffer.from([channel]), data]))) return;
    connection.socket.pause();
    client.socket.once('drain', () => connection.socket.resume());
  };
  const output = (streamType: string, channel: number): SpdyStream => {
    const stream = connection.open({ streamtype: streamType });
    stream.onData = (data) => send(channel, data);
    outputs.push(new Promise((resolve) => (stream.onEnd = resolve)));
    return stream;
  };
  const errors = output('error', channels.error);
  errors.end();
  const stdin = streams.stdin ? connection.open({ streamtype: 'stdin' }) : undefined;
  if (streams.stdout) output('stdout', channels.stdout).end();
  if (streams.stderr && !streams.tty) output('stderr', channels.stderr).end();
  const resize = streams.tty ? connection.open({ streamtype: 'resize' }) : undefined;

  const receive = (message: Buffer): void => {
    const channel = message[0];
    const data = message.subarray(1);
    if (channel === channels.stdin && data.length > 0 && stdin && !stdin.write(data)) {
      client.socket.pause();
      connection.socket.once('drain', () => client.socket.resume());
    } else if (channel === channels.resize && data.length > 0) resize?.write(data);
    else if (channel === channels.close && protocol.startsWith('v5') && data[0] === channels.stdin) stdin?.end();
  };
  for (const message of early) receive(message);
  client.onMessage = receive;
  client.onClose = () => {
    connection.close();
  };
  await Promise.all(outputs);
  client.close(1000, '');
  connection.close();
}

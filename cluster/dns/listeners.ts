// SPDX-License-Identifier: Apache-2.0
// The sockets of the DNS server: UDP, and TCP with several queries per connection, answered in any order. A TCP
// connection that is idle, sends what is no message, or does not read its answers is closed; how many there may be is
// bounded, in all and for one client.

import { createSocket } from 'node:dgram';
import { createServer, isIP } from 'node:net';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import type { Frontend } from './frontend.ts';

const idleMs = 10_000;
const mostConnections = 1000;
const mostConnectionsOfOne = 200;
/** Queries of one connection that are being worked on, at which it is not read on. */
const mostPending = 200;
/** Answers that a TCP client has not read yet, in bytes, at which it is cut off. */
const mostUnread = 1 << 20;

export class Listeners {
  readonly #frontend: Pick<Frontend, 'handle'>;
  readonly #udp: UdpSocket[] = [];
  readonly #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();
  readonly #byClient = new Map<string, number>();

  constructor(frontend: Pick<Frontend, 'handle'>) {
    this.#frontend = frontend;
  }

  /** `addresses` empty: all, of both families where the host has IPv6. Errors: the address and port that cannot be had. */
  async listen(port: number, addresses: readonly string[] = []): Promise<void> {
    // A port that is free for UDP may be taken for TCP; where any will do, the next one is tried.
    for (let left = port === 0 ? 10 : 1; left > 0; left--) {
      try {
        await this.#listenAll(port, addresses);
        return;
      } catch (error) {
        this.close();
        if (left === 1 || codeOf(error) !== 'EADDRINUSE') throw error;
      }
    }
  }

  get port(): number {
    return this.#udp[0]?.address().port ?? 0;
  }

  close(): void {
    for (const socket of this.#udp.splice(0)) socket.close();
    for (const server of this.#tcp.splice(0)) server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  async #listenAll(port: number, addresses: readonly string[]): Promise<void> {
    if (addresses.length > 0) {
      for (const address of addresses) await this.#listen(this.port || port, address);
      return;
    }
    await this.#listen(port, '0.0.0.0');
    await this.#listen(this.port, '::').catch((error: unknown) => {
      const code = codeOf(error);
      if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error;
    });
  }

  async #listen(port: number, address: string): Promise<void> {
    const where = `${address.includes(':') ? `[${address}]` : address}:${port}`;
    const udp = await this.#bind(port, address).catch((error: unknown) => {
      throw new Error(`cannot listen on UDP ${where}`, { cause: error });
    });
    this.#udp.push(udp);
    const tcp = createServer({ noDelay: true }, (socket) => this.#serve(socket));
    tcp.maxConnections = mostConnections;
    this.#tcp.push(tcp);
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', (error) => reject(new Error(`cannot listen on TCP ${where}`, { cause: error })));
      tcp.listen({ port: udp.address().port, host: address, ipv6Only: true, backlog: 511 }, resolve);
    });
  }

  /** A socket for each family: one for both would make every IPv4 address a longer text to read and write. */
  #bind(port: number, address: string): Promise<UdpSocket> {
    const ipv6 = isIP(address) === 6;
    const socket = createSocket({
      type: ipv6 ? 'udp6' : 'udp4',
      ipv6Only: ipv6,
      reuseAddr: true,
      recvBufferSize: 1 << 20,
      // Clients' addresses are numbers: asking the resolver would cost a turn of the event loop for each answer.
      lookup: (hostname, _options, callback) => callback(null, hostname, ipv6 ? 6 : 4),
    });
    socket.on('message', (packet, from) => {
      const reply = this.#frontend.handle(packet, { address: from.address, port: from.port, transport: 'udp' });
      // Without a callback a client that is gone is nobody's error.
      if (reply instanceof Promise) {
        reply.then(
          (later) => {
            if (later !== undefined && this.#udp.includes(socket)) socket.send(later, from.port, from.address);
          },
          () => undefined,
        );
      } else if (reply !== undefined) socket.send(reply, from.port, from.address);
    });
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, address, () => {
        socket.off('error', reject);
        // Errors of single packets, such as an unreachable client.
        socket.on('error', () => undefined);
        resolve(socket);
      });
    });
  }

  #serve(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const own = (this.#byClient.get(address) ?? 0) + 1;
    if (own > mostConnectionsOfOne) {
      socket.destroy();
      return;
    }
    this.#byClient.set(address, own);
    this.#connections.add(socket);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#connections.delete(socket);
      const left = (this.#byClient.get(address) ?? 1) - 1;
      if (left === 0) this.#byClient.delete(address);
      else this.#byClient.set(address, left);
    });
    const source = { address, port: socket.remotePort ?? 0, transport: 'tcp' as const };
    let received: Buffer = Buffer.alloc(0);
    let pending = 0;
    const take = (): void => {
      socket.cork();
      while (received.length >= 2 && pending < mostPending) {
        const length = received.readUInt16BE(0);
        if (length < 12) {
          socket.destroy();
          return;
        }
        if (received.length < 2 + length) break;
        const reply = this.#frontend.handle(received.subarray(2, 2 + length), source);
        received = received.subarray(2 + length);
        if (!(reply instanceof Promise)) send(socket, reply);
        else {
          pending++;
          reply
            .then(
              (later) => send(socket, later),
              () => undefined,
            )
            .finally(() => {
              pending--;
              if (socket.isPaused()) {
                socket.resume();
                take();
              }
            });
        }
      }
      if (pending >= mostPending) socket.pause();
      process.nextTick(() => socket.uncork());
    };
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      take();
    });
  }
}

function codeOf(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
}

function send(socket: Socket, reply: Buffer | undefined): void {
  if (reply === undefined || socket.destroyed) return;
  const framed = Buffer.allocUnsafe(2 + reply.length);
  framed.writeUInt16BE(reply.length);
  reply.copy(framed, 2);
  socket.write(framed);
  if (socket.writableLength > mostUnread) socket.destroy();
}

// SPDX-License-Identifier: Apache-2.0
// The sockets of the DNS server: UDP, and TCP with several queries per connection. A TCP connection that is idle, sends
// too much at once or does not read its answers is closed.

import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import type { Outcome, Transport } from './resolver.ts';

export type Handler = (packet: Buffer, transport: Transport, client: string) => Outcome | Promise<Outcome>;

const idleMs = 10_000;
const mostConnections = 1000;
/** Answers that a TCP client has not read yet, in bytes, at which it is cut off. */
const mostUnread = 1 << 20;

export class Listeners {
  readonly #handle: Handler;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #udp: UdpSocket | undefined;

  constructor(handle: Handler) {
    this.#handle = handle;
    this.#tcp = createServer((socket) => this.#serve(socket));
    this.#tcp.maxConnections = mostConnections;
  }

  /** Both families where the host has IPv6. Errors: the port and why it cannot be had. */
  async listen(port: number): Promise<void> {
    this.#udp = await this.#bind('udp6', port)
      .catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL') return this.#bind('udp4', port);
        throw error;
      })
      .catch((error: unknown) => {
        throw new Error(`cannot listen on UDP port ${port}`, { cause: error });
      });
    const bound = port === 0 ? this.port : port;
    await new Promise<void>((resolve, reject) => {
      this.#tcp.once('error', (error) => reject(new Error(`cannot listen on TCP port ${bound}`, { cause: error })));
      this.#tcp.listen(bound, resolve);
    });
  }

  get port(): number {
    return this.#udp?.address().port ?? 0;
  }

  close(): void {
    this.#udp?.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #bind(type: 'udp6' | 'udp4', port: number): Promise<UdpSocket> {
    const socket = createSocket({ type, reuseAddr: true, recvBufferSize: 1 << 20 });
    socket.on('message', (packet, from) => {
      const send = ({ reply }: Outcome): void => {
        // The client may be gone; the answer is then nobody's.
        if (reply !== undefined) socket.send(reply, from.port, from.address, () => undefined);
      };
      const outcome = this.#handle(packet, 'udp', from.address);
      if (outcome instanceof Promise) outcome.then(send, () => undefined);
      else send(outcome);
    });
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, () => {
        socket.off('error', reject);
        // Errors of single packets, such as an unreachable client.
        socket.on('error', () => undefined);
        resolve(socket);
      });
    });
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    let received: Buffer = Buffer.alloc(0);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => this.#connections.delete(socket));
    const send = ({ reply }: Outcome): void => {
      if (reply === undefined || socket.destroyed) return;
      const framed = Buffer.allocUnsafe(2 + reply.length);
      framed.writeUInt16BE(reply.length);
      reply.copy(framed, 2);
      socket.write(framed);
      if (socket.writableLength > mostUnread) socket.destroy();
    };
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const outcome = this.#handle(received.subarray(2, end), 'tcp', socket.remoteAddress ?? '');
        received = received.subarray(end);
        if (outcome instanceof Promise) outcome.then(send, () => undefined);
        else send(outcome);
      }
    });
  }
}

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
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();

  constructor(handle: Handler) {
    this.#udp = createSocket({ type: 'udp6', reuseAddr: true, recvBufferSize: 1 << 20 });
    this.#udp.on('message', (packet, from) => {
      const send = ({ reply }: Outcome): void => {
        // The client may be gone; the answer is then nobody's.
        if (reply !== undefined) this.#udp.send(reply, from.port, from.address, () => undefined);
      };
      const outcome = handle(packet, 'udp', from.address);
      if (outcome instanceof Promise) outcome.then(send, () => undefined);
      else send(outcome);
    });
    this.#udp.on('error', () => undefined);
    this.#tcp = createServer((socket) => this.#serve(socket, handle));
    this.#tcp.maxConnections = mostConnections;
  }

  /** Errors: the port and why it cannot be had. */
  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#udp.once('error', (error) => reject(new Error(`cannot listen on UDP port ${port}`, { cause: error })));
      this.#udp.bind(port, '::', resolve);
    });
    const bound = port === 0 ? this.port : port;
    await new Promise<void>((resolve, reject) => {
      this.#tcp.once('error', (error) => reject(new Error(`cannot listen on TCP port ${bound}`, { cause: error })));
      this.#tcp.listen(bound, '::', resolve);
    });
  }

  get port(): number {
    return this.#udp.address().port;
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket, handle: Handler): void {
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
        const outcome = handle(received.subarray(2, end), 'tcp', socket.remoteAddress ?? '');
        received = received.subarray(end);
        if (outcome instanceof Promise) outcome.then(send, () => undefined);
        else send(outcome);
      }
    });
  }
}

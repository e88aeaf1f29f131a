// SPDX-License-Identifier: Apache-2.0
// Questions to one server. Over UDP they leave from a changing set of random ports, each with a random id, and only a
// reply from that server with that id and that question is believed. Over TCP they share a connection, and replies may
// come in any order. Sockets live for a limited time.

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP } from 'node:net';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';

import { readName } from './wire.ts';

/** UDP ports in use at once for one server: more make answers harder to forge, each costs a file descriptor. */
const mostPorts = 16;

export interface ExchangeObserver {
  /** A question went over a socket that was there already, or over a new one. */
  connection(reused: boolean, transport: 'udp' | 'tcp'): void;
}

interface Pending {
  readonly question: Buffer;
  readonly name: string;
  readonly finish: (reply: Buffer | undefined) => void;
}

/** One way to the server: a UDP port or a TCP connection. */
interface Line {
  readonly pending: Map<number, Pending>;
  readonly send: (request: Buffer) => void;
  readonly close: () => void;
  /** No new questions: it is too old or broken. */
  retired: boolean;
}

export class Exchange {
  readonly #server: { readonly address: string; readonly port: number };
  readonly #expireMs: number;
  readonly #observer: ExchangeObserver;
  readonly #ports: Line[] = [];
  #connection: Line | undefined;
  #closed = false;

  constructor(
    server: { readonly address: string; readonly port: number },
    expireMs: number,
    observer: ExchangeObserver,
  ) {
    this.#server = server;
    this.#expireMs = expireMs;
    this.#observer = observer;
  }

  /** `packet` is a query with one question; its id is replaced. undefined: no reply in time, or the way is broken. */
  ask(packet: Buffer, transport: 'udp' | 'tcp', timeoutMs: number): Promise<Buffer | undefined> {
    const question = readName(packet, 12);
    if (question === undefined || this.#closed) return Promise.resolve(undefined);
    const line = transport === 'udp' ? this.#port() : this.#tcp();
    return new Promise((resolve) => {
      let id = randomInt(0x10000);
      while (line.pending.has(id)) id = (id + 1) & 0xffff;
      const finish = (reply: Buffer | undefined): void => {
        clearTimeout(timer);
        line.pending.delete(id);
        if (line.retired && line.pending.size === 0) line.close();
        resolve(reply);
      };
      const timer = setTimeout(finish, timeoutMs, undefined);
      const request = Buffer.from(packet);
      request.writeUInt16BE(id, 0);
      line.pending.set(id, {
        question: packet.subarray(12, question.end + 4),
        name: question.text.toLowerCase(),
        finish,
      });
      line.send(request);
    });
  }

  close(): void {
    this.#closed = true;
    for (const line of [...this.#ports, this.#connection]) if (line !== undefined) breakLine(line);
  }

  #port(): Line {
    const chosen = this.#ports.length < mostPorts ? undefined : this.#ports[randomInt(mostPorts)];
    this.#observer.connection(chosen !== undefined, 'udp');
    if (chosen !== undefined) return chosen;
    const line = openUdp(this.#server);
    this.#ports.push(line);
    this.#retireLater(line, () => {
      const index = this.#ports.indexOf(line);
      if (index >= 0) this.#ports.splice(index, 1);
    });
    return line;
  }

  #tcp(): Line {
    const reused =
      this.#connection !== undefined && !this.#connection.retired && this.#connection.pending.size < 0x8000;
    this.#observer.connection(reused, 'tcp');
    if (reused && this.#connection !== undefined) return this.#connection;
    const line = openTcp(this.#server, () => {
      if (this.#connection === line) this.#connection = undefined;
    });
    this.#connection = line;
    this.#retireLater(line, () => {
      if (this.#connection === line) this.#connection = undefined;
    });
    return line;
  }

  #retireLater(line: Line, forget: () => void): void {
    setTimeout(() => {
      forget();
      line.retired = true;
      if (line.pending.size === 0) line.close();
    }, this.#expireMs).unref();
  }
}

function openUdp({ address, port }: { readonly address: string; readonly port: number }): Line {
  const family = isIP(address);
  const socket: UdpSocket = createSocket({ type: family === 6 ? 'udp6' : 'udp4', lookup: numeric(family) });
  let early: Buffer[] | undefined = [];
  let open = true;
  let unreachable = false;
  const line: Line = {
    pending: new Map(),
    retired: false,
    send: (request) => {
      if (unreachable) setImmediate(failAll, line);
      else if (early === undefined) socket.send(request);
      else early.push(request);
    },
    close: () => {
      if (open) socket.close();
      open = false;
    },
  };
  // "Port unreachable" from the server's host: nobody listens.
  socket.on('error', () => failAll(line));
  socket.on('message', (reply) => take(line, reply));
  // Connected, so that only this server's packets arrive.
  socket.connect(port, address, (error?: Error) => {
    // No route, such as to an IPv4 server from a pod that has only IPv6.
    if (error !== undefined) {
      unreachable = true;
      failAll(line);
      return;
    }
    const waiting = early ?? [];
    early = undefined;
    for (const request of waiting) if (open) socket.send(request);
  });
  return line;
}

function openTcp(server: { readonly address: string; readonly port: number }, onEnd: () => void): Line {
  const socket: Socket = connect({ host: server.address, port: server.port, noDelay: true });
  let received: Buffer = Buffer.alloc(0);
  const line: Line = {
    pending: new Map(),
    retired: false,
    send: (request) => {
      const framed = Buffer.allocUnsafe(2 + request.length);
      framed.writeUInt16BE(request.length);
      request.copy(framed, 2);
      socket.write(framed);
    },
    close: () => socket.destroy(),
  };
  const end = (): void => {
    line.retired = true;
    onEnd();
    socket.destroy();
    failAll(line);
  };
  socket.on('error', end);
  socket.on('close', end);
  socket.on('data', (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0);
      take(line, Buffer.from(received.subarray(2, end)));
      received = received.subarray(end);
    }
  });
  return line;
}

/** Addresses are numbers already: asking the resolver would cost a turn of the event loop for each packet. */
function numeric(
  family: number,
): (
  hostname: string,
  options: unknown,
  callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
) => void {
  return (hostname, _options, callback) => callback(null, hostname, family);
}

function take(line: Line, reply: Buffer): void {
  if (reply.length < 12 || (reply.readUInt16BE(2) & 0x8000) === 0) return;
  const pending = line.pending.get(reply.readUInt16BE(0));
  if (pending === undefined || !repeats(reply, pending)) return;
  pending.finish(reply);
}

/** Whether the reply is to that question; servers may change the letter case. */
function repeats(reply: Buffer, { question, name }: Pending): boolean {
  if (reply.readUInt16BE(4) !== 1 || reply.length < 12 + question.length) return false;
  if (reply.compare(question, 0, question.length, 12, 12 + question.length) === 0) return true;
  return (
    readName(reply, 12)?.text.toLowerCase() === name &&
    reply.readUInt32BE(12 + question.length - 4) === question.readUInt32BE(question.length - 4)
  );
}

function failAll(line: Line): void {
  for (const pending of line.pending.values()) pending.finish(undefined);
}

function breakLine(line: Line): void {
  line.retired = true;
  failAll(line);
  line.close();
}

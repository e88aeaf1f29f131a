// SPDX-License-Identifier: Apache-2.0
/**
 * The agent as a server: TCP (with HTTP on the same port) and UDP listeners that answer with who they are and whom they saw, and
 * that keep a receipt of each request, so that a lost request and a lost reply can be told apart.
 */
import { createSocket } from 'node:dgram';
import { createServer, isIPv4, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { keepMark, type Listen, type Protocol, type Receipt, type ServerIdentity } from './protocol.ts';

/** Receipts are kept for the newest requests only. */
const receiptsMax = 50_000;
const requestBytesMax = 128 * 1024;
const idleMs = 30_000;

interface Listener {
  readonly listen: Listen;
  close(): void;
}

export class Listeners {
  readonly #open = new Map<string, Listener>();
  readonly #holdsProcess: boolean;
  readonly #receipts = new Map<string, Receipt>();

  constructor(
    options: {
      /** False: an open port alone keeps the process from ending no longer. */ readonly holdsProcess?: boolean;
    } = {},
  ) {
    this.#holdsProcess = options.holdsProcess ?? true;
  }

  /** Opens what is not open yet. Rejects, with the address and the reason, if a port cannot be had; the others stay. */
  async open(wanted: readonly Listen[]): Promise<void> {
    const missing = wanted.filter((listen) => !this.#open.has(keyOf(listen)));
    await Promise.all(
      missing.map(async (listen) => {
        const listener = listen.protocol === 'tcp' ? await this.#tcp(listen) : await this.#udp(listen);
        this.#open.set(keyOf(listen), listener);
      }),
    );
  }

  close(unwanted: readonly Listen[]): void {
    for (const listen of unwanted) {
      this.#open.get(keyOf(listen))?.close();
      this.#open.delete(keyOf(listen));
    }
  }

  get listening(): readonly Listen[] {
    return [...this.#open.values()].map(({ listen }) => listen);
  }

  receipts(nonces: readonly string[]): Receipt[] {
    return nonces.map((nonce) => this.#receipts.get(nonce)).filter((receipt) => receipt !== undefined);
  }

  receiptsOfStream(stream: string): Receipt[] {
    return [...this.#receipts.values()].filter(({ nonce }) => nonce.startsWith(`${stream}-`));
  }

  #note(receipt: Receipt): void {
    this.#receipts.set(receipt.nonce, receipt);
    if (this.#receipts.size <= receiptsMax) return;
    for (const oldest of this.#receipts.keys()) {
      this.#receipts.delete(oldest);
      break;
    }
  }

  #tcp(listen: Listen): Promise<Listener> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket, listen.port));
    if (!this.#holdsProcess) server.unref();
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(new Error(`cannot listen on tcp/${listen.port}: ${error.message}`)));
      server.listen({ port: listen.port, host: listen.address ?? '::', backlog: 1024 }, () => {
        resolve({ listen, close: () => server.close() });
      });
    });
  }

  #serve(socket: Socket, port: number): void {
    let text = '';
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    // A client that ends without a word still gets its end back.
    socket.on('end', () => socket.end());
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.length > requestBytesMax) {
        socket.destroy();
        return;
      }
      for (let rest = this.#answer(socket, text, port); rest !== undefined; rest = this.#answer(socket, text, port))
        text = rest;
    });
  }

  /** Answers the first request of `text`, and returns what follows it; undefined: it is not whole yet, or there is no more to answer. */
  #answer(socket: Socket, text: string, port: number): string | undefined {
    const isHttp = /^(GET|HEAD|POST) /.test(text);
    const end = text.indexOf(isHttp ? '\r\n\r\n' : '\n');
    if (end === -1 || socket.writableEnded) return undefined;
    const request = text.slice(0, end);
    const identity = identityFor(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    const nonce = (isHttp ? /[?&]nonce=([a-z0-9-]+)/.exec(request)?.[1] : /^([a-z0-9-]+)/.exec(request)?.[1]) ?? '';
    const protocol: Protocol = isHttp ? 'http' : 'tcp';
    if (nonce !== '') this.#note({ nonce, protocol, port, clientAddress: identity.clientAddress, at: Date.now() });
    const answer = isHttp ? httpAnswer(request, identity) : `${nonce} ${JSON.stringify(identity)}\n`;
    // A client that keeps its connection says so with every request.
    if (!isHttp && request.endsWith(keepMark)) socket.write(answer);
    else socket.end(answer);
    return text.slice(end + (isHttp ? 4 : 1));
  }

  #udp(listen: Listen): Promise<Listener> {
    const { address = '::' } = listen;
    const socket = createSocket({ type: isIPv4(address) ? 'udp4' : 'udp6', ipv6Only: false });
    if (!this.#holdsProcess) socket.unref();
    socket.on('message', (message, remote) => {
      const nonce = /^([a-z0-9-]+)/.exec(message.toString('latin1'))?.[1];
      // Anything else is not ours; answering it could make two agents talk for ever.
      if (nonce === undefined || message.includes('{')) return;
      const identity = identityFor(remote.address, remote.port);
      this.#note({
        nonce,
        protocol: 'udp',
        port: listen.port,
        clientAddress: identity.clientAddress,
        at: Date.now(),
      });
      socket.send(`${nonce} ${JSON.stringify(identity)}`, remote.port, remote.address);
    });
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => reject(new Error(`cannot listen on udp/${listen.port}: ${error.message}`)));
      socket.bind(listen.port, address, () => {
        socket.on('error', () => undefined);
        resolve({ listen, close: () => socket.close() });
      });
    });
  }
}

function identityFor(address: string, port: number): ServerIdentity {
  return { hostname: hostname(), clientAddress: address.replace(/^::ffff:/, ''), clientPort: port };
}

function httpAnswer(request: string, identity: ServerIdentity): string {
  // /hostname answers as plain text, for shell scripts and browsers.
  const plain = request.split(' ', 2)[1]?.startsWith('/hostname') === true;
  const body = plain ? identity.hostname : JSON.stringify(identity);
  const type = plain ? 'text/plain' : 'application/json';
  const head = ['HTTP/1.1 200 OK', `Content-Type: ${type}`, `Content-Length: ${body.length}`, 'Connection: close'];
  return `${head.join('\r\n')}\r\n\r\n${request.startsWith('HEAD') ? '' : body}`;
}

function keyOf({ protocol, port, address = '::' }: Listen): string {
  return `${protocol}/${port}/${address}`;
}

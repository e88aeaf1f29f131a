// SPDX-License-Identifier: Apache-2.0
// A client of the runtime's SPDY/3.1 streaming server: opens named streams, sends, half-closes, receives. Just enough of the protocol to let
// WebSocket clients reach it: headers are sent uncompressed (stored deflate blocks are valid zlib) and received ones are not needed.
import { request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';

export interface SpdyStream {
  readonly id: number;
  write(data: Buffer): boolean;
  /** No more data from this side. */
  end(): void;
  onData: (data: Buffer) => void;
  onEnd: () => void;
}

export const frameTypes = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

const finFlag = 1;

export class SpdyConnection {
  readonly #socket: Socket;
  readonly #streams = new Map<number, SpdyStream>();
  #buffer: Buffer = Buffer.alloc(0);
  #nextId = 1;
  #zlibStarted = false;
  onClose: () => void = () => undefined;

  constructor(socket: Socket, head: Buffer) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const stream of this.#streams.values()) stream.onEnd();
      this.#streams.clear();
      this.onClose();
    });
    if (head.length > 0) this.#receive(head);
  }

  get socket(): Socket {
    return this.#socket;
  }

  open(headers: Readonly<Record<string, string>>): SpdyStream {
    const id = this.#nextId;
    this.#nextId += 2;
    const block = this.#headerBlock(headers);
    const payload = Buffer.alloc(10 + block.length);
    payload.writeUInt32BE(id, 0);
    block.copy(payload, 10);
    this.#socket.write(controlFrame(frameTypes.synStream, 0, payload));
    const stream: SpdyStream = {
      id,
      write: (data) => this.#socket.write(dataFrame(id, 0, data)),
      end: () => {
        this.#socket.write(dataFrame(id, finFlag, Buffer.alloc(0)));
      },
      onData: () => undefined,
      onEnd: () => undefined,
    };
    this.#streams.set(id, stream);
    return stream;
  }

  close(): void {
    this.#socket.end();
    this.#socket.destroySoon();
  }

  /** Name/value pairs as a piece of the connection's one zlib stream, in stored (uncompressed) blocks. */
  #headerBlock(headers: Readonly<Record<string, string>>): Buffer {
    const pairs = Object.entries(headers);
    const parts: Buffer[] = [uint32(pairs.length)];
    for (const [name, value] of pairs) {
      for (const text of [name.toLowerCase(), value]) {
        const bytes = Buffer.from(text);
        parts.push(uint32(bytes.length), bytes);
      }
    }
    const data = Buffer.concat(parts);
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(data.length, 1);
    stored.writeUInt16LE(~data.length & 0xffff, 3);
    const start = this.#zlibStarted ? Buffer.alloc(0) : Buffer.from([0x78, 0x01]);
    this.#zlibStarted = true;
    // An empty stored block at the end is what a flush leaves: the reader has all it needs.
    return Buffer.concat([start, stored, data, Buffer.from([0, 0, 0, 0xff, 0xff])]);
  }

  #receive(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    while (this.#buffer.length >= 8) {
      const length = this.#buffer.readUInt32BE(4) & 0xffffff;
      if (this.#buffer.length < 8 + length) return;
      const head = this.#buffer.readUInt32BE(0);
      const flags = this.#buffer[4] ?? 0;
      const payload = this.#buffer.subarray(8, 8 + length);
      this.#buffer = this.#buffer.subarray(8 + length);
      if ((head & 0x80000000) === 0) this.#data(head & 0x7fffffff, flags, payload);
      else this.#control(head & 0xffff, flags, payload);
    }
  }

  #data(id: number, flags: number, payload: Buffer): void {
    const stream = this.#streams.get(id);
    if (payload.length > 0) stream?.onData(payload);
    if (flags & finFlag) this.#finish(id);
  }

  #control(type: number, flags: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.ping:
        this.#socket.write(controlFrame(frameTypes.ping, 0, payload));
        break;
      case frameTypes.rstStream:
        this.#finish(payload.readUInt32BE(0) & 0x7fffffff);
        break;
      case frameTypes.synReply:
      case frameTypes.headers:
        if (flags & finFlag) this.#finish(payload.readUInt32BE(0) & 0x7fffffff);
        break;
      default:
        break;
    }
  }

  #finish(id: number): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.onEnd();
  }
}

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export function controlFrame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8003, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(payload.length, 4);
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

export function dataFrame(id: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(id, 0);
  head.writeUInt32BE(payload.length, 4);
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

/** Upgrades a connection to the runtime's streaming server. Errors: what it answered instead. */
export function connectSpdy(
  url: string,
  protocols: readonly string[],
): Promise<{ connection: SpdyConnection; protocol: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(url, {
      method: 'POST',
      agent: false,
      headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': [...protocols] },
    });
    outgoing.on('upgrade', (response, socket, head) => {
      const protocol = response.headers['x-stream-protocol-version'];
      resolve({ connection: new SpdyConnection(socket as Socket, head), protocol: String(protocol ?? protocols[0]) });
    });
    outgoing.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('end', () =>
        reject(new Error(`the runtime's streaming server answered ${response.statusCode}: ${body.trim()}`)),
      );
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

// SPDX-License-Identifier: Apache-2.0
// The server side of one WebSocket connection after its handshake (RFC 6455): whole messages in, binary messages out, pings answered, closed
// in order. Kept here because the handshake needs subprotocol names that libraries refuse.
import type { Duplex } from 'node:stream';

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const maxMessage = 64 * 1024 * 1024;

export class WebSocketConnection {
  readonly socket: Duplex;
  #buffer: Buffer;
  #parts: Buffer[] = [];
  #partsLength = 0;
  #closeSent = false;
  #closed = false;
  #scheduled = false;
  onMessage: (data: Buffer) => void = () => undefined;
  onClose: () => void = () => undefined;

  constructor(socket: Duplex, head: Buffer) {
    this.socket = socket;
    this.#buffer = head;
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
      this.#parse();
    });
    const closed = (): void => {
      if (this.#closed) return;
      this.#closed = true;
      this.onClose();
    };
    socket.on('close', closed);
    socket.on('end', closed);
    socket.on('error', () => socket.destroy());
    if (head.length > 0 && !this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(() => this.#parse());
    }
  }

  /** False when the caller should wait for the socket's `drain`. */
  send(data: Buffer): boolean {
    if (this.#closeSent || this.socket.destroyed) return true;
    return this.socket.write(frame(opcodes.binary, data));
  }

  close(code: number, reason: string): void {
    if (this.#closeSent || this.socket.destroyed) return;
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.socket.write(frame(opcodes.close, payload));
    this.#closeSent = true;
    // The peer answers with its own close; one that doesn't is cut off.
    const timer = setTimeout(() => this.socket.destroy(), 2_000);
    timer.unref();
    this.socket.once('close', () => clearTimeout(timer));
  }

  #parse(): void {
    for (;;) {
      const message = readFrame(this.#buffer);
      if (message === undefined) return;
      if (message === 'invalid') {
        this.close(1002, 'protocol error');
        this.socket.destroy();
        return;
      }
      this.#buffer = this.#buffer.subarray(message.size);
      this.#frame(message);
    }
  }

  #frame(message: Frame): void {
    switch (message.opcode) {
      case opcodes.close:
        this.close(1000, '');
        this.socket.end();
        break;
      case opcodes.ping:
        if (!this.#closeSent) this.socket.write(frame(opcodes.pong, message.payload));
        break;
      case opcodes.pong:
        break;
      default:
        this.#parts.push(message.payload);
        this.#partsLength += message.payload.length;
        if (this.#partsLength > maxMessage) {
          this.close(1009, 'message too big');
          this.socket.destroy();
        } else if (message.final) {
          const whole = this.#parts.length === 1 ? message.payload : Buffer.concat(this.#parts);
          this.#parts = [];
          this.#partsLength = 0;
          this.onMessage(whole);
        }
    }
  }
}

export interface Frame {
  readonly opcode: number;
  readonly final: boolean;
  readonly payload: Buffer;
  /** Bytes that the frame took, head included. */
  readonly size: number;
}

/** The first frame of a client; undefined while it is incomplete, `invalid` when it can't be one (clients must mask). */
export function readFrame(buffer: Buffer): Frame | 'invalid' | undefined {
  const [first, second] = buffer;
  if (first === undefined || second === undefined) return undefined;
  if ((first & 0x70) !== 0 || (second & 0x80) === 0) return 'invalid';
  let length = second & 0x7f;
  let offset = 2;
  if (length === 126) {
    if (buffer.length < 4) return undefined;
    length = buffer.readUInt16BE(2);
    offset = 4;
  } else if (length === 127) {
    if (buffer.length < 10) return undefined;
    const large = buffer.readBigUInt64BE(2);
    if (large > BigInt(maxMessage)) return 'invalid';
    length = Number(large);
    offset = 10;
  }
  if (buffer.length < offset + 4 + length) return undefined;
  const mask = buffer.subarray(offset, offset + 4);
  const payload = Buffer.from(buffer.subarray(offset + 4, offset + 4 + length));
  for (let index = 0; index < length; index++) payload[index] = (payload[index] ?? 0) ^ (mask[index & 3] ?? 0);
  return { opcode: first & 0x0f, final: (first & 0x80) !== 0, payload, size: offset + 4 + length };
}

/** An unmasked frame, as servers send them. */
export function frame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  let head: Buffer;
  if (length < 126) head = Buffer.from([0x80 | opcode, length]);
  else if (length < 65_536) {
    head = Buffer.from([0x80 | opcode, 126, 0, 0]);
    head.writeUInt16BE(length, 2);
  } else {
    head = Buffer.alloc(10);
    head[0] = 0x80 | opcode;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, payload]);
}

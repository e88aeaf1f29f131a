// SPDX-License-Identifier: Apache-2.0
/**
 * What host and node session say to each other. Orders go as JSON lines into the session's stdin; answers and the output of processes come back
 * as frames on its stdout, since captures are not text: kind (1 octet), number of the order (4), length (4, big endian), content.
 * The session ends, and every process that it started with it, when its stdin ends or stays silent: nothing outlives the host.
 */

export const sessionVersion = 1;

/** Silence after which the host counts as gone. It sends a sign of life several times within it. */
export const silenceMs = 30_000;
export const signOfLifeMs = 8_000;

export const frameKind = { reply: 0, stdout: 1, stderr: 2, exit: 3, failure: 4 } as const;
export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

export interface ProcessOrder {
  readonly argv: readonly string[];
  /** Process whose network namespace the program shall run in; absent: the node's. */
  readonly pid?: number;
  readonly stdin?: string;
}

/** Every order with its arguments and its answer. */
export interface Orders {
  hello: { in: Record<string, never>; out: { version: number } };
  /** The node's clock in milliseconds since 1970, with fractions, and its monotonic clock, which the kernel's events carry. */
  clock: { in: Record<string, never>; out: { at: number; monotonic: number } };
  /** Texts of files; null where one cannot be read. */
  read: { in: { paths: readonly string[] }; out: { texts: readonly (string | null)[] } };
  /** Runs a program to its end. Output beyond 16 MiB is cut. */
  run: {
    in: ProcessOrder & { readonly timeoutMs: number };
    out: { exitCode: number; stdout: string; stderr: string };
  };
  /** Starts a program whose output comes as frames until one of kind `exit`. */
  start: { in: ProcessOrder; out: { pid: number } };
  /** Writes to the stdin of a started program; `end` closes it. */
  write: { in: { process: number; text: string; end?: boolean }; out: Record<string, never> };
  /** SIGINT for a started program, and SIGKILL if it is still there after a second. */
  stop: { in: { process: number }; out: Record<string, never> };
}

export type OrderName = keyof Orders;

export interface Order<Name extends OrderName = OrderName> {
  readonly id: number;
  readonly order: Name;
  readonly input: Orders[Name]['in'];
}

const headLength = 9;

/**
 * What to add to `performance.now()` for milliseconds since 1970. Takes up to a millisecond: it waits for the clock's next tick, since neither
 * Date.now() nor performance.timeOrigin is exact.
 */
export function wallClockBase(): number {
  let best = { base: 0, errorMs: Infinity };
  // Where the processor was taken away at the tick, another tick is waited for.
  for (let turn = 0; turn < 5 && best.errorMs > goodEnoughMs; turn++) {
    const before = Date.now();
    let [earlier, later] = [0, performance.now()];
    let now = before;
    while (now === before) {
      earlier = later;
      now = Date.now();
      later = performance.now();
    }
    if (later - earlier < best.errorMs) best = { base: now - later, errorMs: later - earlier };
  }
  return best.base;
}

const goodEnoughMs = 0.05;

export function frameHead(kind: FrameKind, id: number, length: number): Buffer {
  const head = Buffer.alloc(headLength);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(id, 1);
  head.writeUInt32BE(length, 5);
  return head;
}

/** Takes octets in pieces of any size and hands on whole frames. The content is a copy and may be kept. */
export class FrameReader {
  readonly #take: (kind: FrameKind, id: number, content: Buffer) => void;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Fewer octets than these are not looked at. */
  #needed = headLength;

  constructor(take: (kind: FrameKind, id: number, content: Buffer) => void) {
    this.#take = take;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#needed) return;
    const data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    let at = 0;
    for (;;) {
      this.#needed = headLength;
      if (data.length - at < this.#needed) break;
      const length = data.readUInt32BE(at + 5);
      this.#needed += length;
      if (data.length - at < this.#needed) break;
      const content = Buffer.from(data.subarray(at + headLength, at + this.#needed));
      this.#take(data.readUInt8(at) as FrameKind, data.readUInt32BE(at + 1), content);
      at += this.#needed;
    }
    this.#chunks = at === data.length ? [] : [data.subarray(at)];
    this.#size = data.length - at;
  }
}

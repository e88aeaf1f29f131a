// SPDX-License-Identifier: Apache-2.0
/** Captures as files that are there, files that still grow, and streams. */
import { closeSync, openSync, readSync, watch } from 'node:fs';
import { CaptureParser } from './capture-parser.ts';
import type { Finding, Packet } from './packet.ts';

/** Something that gives packets one after the other; how they come about does not matter to who takes them. */
export interface PacketSource {
  /** Holds until the next call. undefined: there are no more. */
  next(): Packet | undefined;
  readonly finding: Finding | undefined;
}

export class CaptureFile implements PacketSource {
  readonly path: string;
  readonly #parser = new CaptureParser();
  readonly #file: number;
  #ended = false;

  /** Throws what the system says if the file cannot be opened. */
  constructor(path: string) {
    this.path = path;
    this.#file = openSync(path, 'r');
  }

  get finding(): Finding | undefined {
    return this.#parser.finding;
  }

  get names(): ReadonlyMap<string, string> {
    return this.#parser.names;
  }

  next(): Packet | undefined {
    for (;;) {
      const packet = this.#parser.next();
      if (packet !== undefined || this.#ended) return packet;
      if (this.finding !== undefined) this.#end();
      else {
        const octets = readSync(this.#file, this.#parser.room());
        this.#parser.filled(octets);
        if (octets === 0) this.#end();
      }
    }
  }

  close(): void {
    if (!this.#ended) this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#parser.finish();
    closeSync(this.#file);
  }
}

/** Reads a stream to its end. */
export async function readStream(
  stream: AsyncIterable<Uint8Array>,
  take: (packet: Packet) => void,
): Promise<Finding | undefined> {
  const parser = new CaptureParser();
  for await (const chunk of stream) {
    parser.push(chunk);
    drain(parser, take);
    if (parser.finding !== undefined) break;
  }
  parser.finish();
  return parser.finding;
}

/** Reads a file and everything that is appended to it until the signal comes. */
export async function followFile(
  path: string,
  take: (packet: Packet) => void,
  signal: AbortSignal,
): Promise<Finding | undefined> {
  const parser = new CaptureParser();
  const file = openSync(path, 'r');
  let changed = (): void => {};
  const watcher = watch(path, () => changed());
  const stop = (): void => changed();
  signal.addEventListener('abort', stop);
  try {
    while (parser.finding === undefined) {
      const change = new Promise<void>((resolve) => (changed = resolve));
      const octets = readSync(file, parser.room());
      parser.filled(octets);
      drain(parser, take);
      if (octets > 0) continue;
      if (signal.aborted) break;
      await change;
    }
    parser.finish();
    return parser.finding;
  } finally {
    signal.removeEventListener('abort', stop);
    watcher.close();
    closeSync(file);
  }
}

function drain(parser: CaptureParser, take: (packet: Packet) => void): void {
  for (let packet = parser.next(); packet !== undefined; packet = parser.next()) take(packet);
}

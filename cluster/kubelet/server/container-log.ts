// SPDX-License-Identifier: Apache-2.0
// Reads container logs in CRI's format (`time stream P|F text`), across rotation, with the options of `kubectl logs`. The parser is pure.
import { closeSync, fstatSync, openSync, readSync, statSync, watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface LogEntry {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** True when the line goes on in the next entry: no newline follows. */
  readonly partial: boolean;
  readonly text: Buffer;
}

/** One line without its newline; undefined when it isn't in CRI's format. */
export function parseLogLine(line: Buffer): LogEntry | undefined {
  const first = line.indexOf(0x20);
  const second = first < 0 ? -1 : line.indexOf(0x20, first + 1);
  if (second < 0) return undefined;
  const third = line.indexOf(0x20, second + 1);
  const stream = line.toString('latin1', first + 1, second);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const tags = line.toString('latin1', second + 1, third < 0 ? line.length : third);
  return {
    time: line.toString('latin1', 0, first),
    stream,
    partial: tags.split(':')[0] === 'P',
    text: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  };
}

export interface LogOptions {
  readonly follow: boolean;
  readonly tailLines?: number | undefined;
  readonly limitBytes?: number | undefined;
  /** Milliseconds since the epoch. */
  readonly since?: number | undefined;
  readonly timestamps: boolean;
  readonly stream?: 'stdout' | 'stderr' | undefined;
}

export interface LogSink {
  /** Returns a promise when the reader should wait. */
  write(chunk: Buffer): Promise<void> | void;
}

const blockSize = 64 * 1024;

/** Writes the log to `sink`. With `follow`, goes on until `isRunning` is false and all is read, or `signal` aborts. */
export async function readContainerLog(
  path: string,
  options: LogOptions,
  context: { sink: LogSink; isRunning: () => Promise<boolean>; signal: AbortSignal },
): Promise<void> {
  const formatter = new Formatter(options, context.sink);
  let descriptor = openSync(path, 'r');
  try {
    let position = options.tailLines === undefined ? 0 : tailPosition(descriptor, options.tailLines);
    let rest: Buffer = Buffer.alloc(0);
    const block = Buffer.allocUnsafe(blockSize);
    for (;;) {
      const count = readSync(descriptor, block, 0, blockSize, position);
      if (count > 0) {
        position += count;
        let data: Buffer =
          rest.length > 0 ? Buffer.concat([rest, block.subarray(0, count)]) : Buffer.from(block.subarray(0, count));
        let newline: number;
        while ((newline = data.indexOf(0x0a)) >= 0) {
          if (!(await formatter.line(data.subarray(0, newline)))) return;
          data = data.subarray(newline + 1);
        }
        rest = data;
        if (context.signal.aborted) return;
        continue;
      }
      await formatter.flush();
      if (!options.follow || context.signal.aborted) break;
      const rotated = isRotated(path, descriptor);
      if (rotated) {
        closeSync(descriptor);
        descriptor = openSync(path, 'r');
        position = 0;
        continue;
      }
      const running = await context.isRunning();
      if (!running) {
        // What was written between the last read and the exit.
        if (fstatSync(descriptor).size > position) continue;
        break;
      }
      await changed(path, () => fstatSync(descriptor).size > position, context.signal);
    }
    if (rest.length > 0) await formatter.line(rest);
    await formatter.flush();
  } finally {
    closeSync(descriptor);
  }
}

class Formatter {
  readonly #options: LogOptions;
  readonly #sink: LogSink;
  readonly #since: string | undefined;
  #left: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #continues = false;

  constructor(options: LogOptions, sink: LogSink) {
    this.#options = options;
    this.#sink = sink;
    this.#since = options.since === undefined ? undefined : new Date(options.since).toISOString();
    this.#left = options.limitBytes ?? Infinity;
  }

  /** False when the byte limit is reached. */
  async line(line: Buffer): Promise<boolean> {
    const entry = parseLogLine(line);
    if (entry === undefined) return true;
    if (this.#options.stream !== undefined && entry.stream !== this.#options.stream) return true;
    if (this.#since !== undefined && Date.parse(entry.time) < Date.parse(this.#since)) return true;
    let chunk: Buffer = entry.partial ? entry.text : Buffer.concat([entry.text, Buffer.from('\n')]);
    if (this.#options.timestamps && !this.#continues) chunk = Buffer.concat([Buffer.from(`${entry.time} `), chunk]);
    this.#continues = entry.partial;
    if (chunk.length > this.#left) chunk = chunk.subarray(0, this.#left);
    this.#left -= chunk.length;
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    if (this.#pendingBytes >= blockSize || this.#left <= 0) await this.flush();
    return this.#left > 0;
  }

  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const chunk = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#sink.write(chunk);
  }
}

/** Where the last `lines` lines begin. */
function tailPosition(descriptor: number, lines: number): number {
  const { size } = fstatSync(descriptor);
  if (lines <= 0) return size;
  const block = Buffer.allocUnsafe(blockSize);
  let end = size;
  let seen = 0;
  while (end > 0) {
    const start = Math.max(0, end - blockSize);
    const count = readSync(descriptor, block, 0, end - start, start);
    for (let index = count - 1; index >= 0; index--) {
      if (block[index] !== 0x0a) continue;
      // The newline at the very end closes the last line and begins none.
      if (start + index === size - 1) continue;
      seen++;
      if (seen === lines) return start + index + 1;
    }
    end = start;
  }
  return 0;
}

function isRotated(path: string, descriptor: number): boolean {
  try {
    return statSync(path).ino !== fstatSync(descriptor).ino;
  } catch {
    return false;
  }
}

/** Resolves when something in the log's folder changes, after a second at the latest. */
function changed(path: string, isBehind: () => boolean, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      watcher?.close();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, 1000);
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(dirname(path), done);
      watcher.on('error', done);
      // What came between the last read and the watch.
      if (isBehind()) done();
    } catch {
      // Out of watches: the timer alone paces the reading.
    }
    signal.addEventListener('abort', done, { once: true });
  });
}

/** The end of a log as plain text, at most so many lines and bytes; empty when it can't be read. */
export async function lastLogLines(path: string, limit: { lines: number; bytes: number }): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const length = Math.min(size, limit.bytes * 4);
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
      const lines = buffer
        .toString('latin1')
        .split('\n')
        .map((line) => parseLogLine(Buffer.from(line, 'latin1')))
        .filter((entry) => entry !== undefined)
        .slice(-limit.lines);
      const text = lines.map((entry) => entry.text.toString('utf8') + (entry.partial ? '' : '\n')).join('');
      return text.slice(-limit.bytes);
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}

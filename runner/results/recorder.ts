// SPDX-License-Identifier: Apache-2.0
/**
 * Writes the record of a run while it happens: each event is one line of `events.jsonl`, on the way to the disk before `record` returns, and each
 * piece of evidence is a file of its own. What was recorded survives a kill of the process. When the disk is full, the run goes
 * on in memory, the first failed write is kept as `trouble`, and nothing written before is touched.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { extname, join } from 'node:path';
import { messageOf, Problem } from '../problem.ts';
import type { EventBody, EvidenceAttached, ResultEvent } from './events.ts';
import { writeFileSafely } from './write-file.ts';

export interface EvidenceContent {
  readonly name: string;
  readonly content: string | Uint8Array;
  /** Default by the extension of the name. */
  readonly mediaType?: string;
  readonly summary?: string;
  readonly role?: EvidenceAttached['role'];
}

export interface Recorder {
  readonly directory: string;
  /** Everything recorded so far. */
  readonly events: readonly ResultEvent[];
  /** The first write that failed, if one did. */
  readonly trouble: Problem | undefined;
  record(event: EventBody): ResultEvent;
  /** Writes the file, then records it. `name` is made safe and unique within the case. */
  attach(caseId: string, attempt: number, evidence: EvidenceContent): void;
  onEvent(listener: (event: ResultEvent) => void): void;
  close(): void;
}

export function createRecorder(directory: string, now: () => Date): Recorder {
  mkdirSync(directory, { recursive: true });
  const file = openSync(join(directory, 'events.jsonl'), 'a');
  const events: ResultEvent[] = [];
  const listeners: ((event: ResultEvent) => void)[] = [];
  const used = new Set<string>();
  let trouble: Problem | undefined;
  let closed = false;

  const guard = (path: string, write: () => void): boolean => {
    try {
      write();
      return true;
    } catch (error) {
      trouble ??= writeProblem(path, error);
      return false;
    }
  };

  const recorder: Recorder = {
    directory,
    events,
    get trouble() {
      return trouble;
    },
    record(body) {
      const event = { ...body, time: now().toISOString() } as ResultEvent;
      events.push(event);
      if (!closed) guard(join(directory, 'events.jsonl'), () => writeWhole(file, `${JSON.stringify(event)}\n`));
      for (const listener of listeners) listener(event);
      return event;
    },
    attach(caseId, attempt, evidence) {
      const content = typeof evidence.content === 'string' ? Buffer.from(evidence.content) : evidence.content;
      const path = freeName(used, join('evidence', caseId, safeName(evidence.name)));
      if (!guard(join(directory, path), () => writeFileSafely(join(directory, path), content))) return;
      const body: Omit<EvidenceAttached, 'time'> = {
        type: 'evidence-attached',
        caseId,
        attempt,
        file: path,
        mediaType: evidence.mediaType ?? mediaTypeOf(evidence.name),
        bytes: content.byteLength,
        role: evidence.role ?? 'detail',
        ...(evidence.summary === undefined ? {} : { summary: evidence.summary }),
      };
      recorder.record(body);
    },
    onEvent: (listener) => void listeners.push(listener),
    close() {
      if (closed) return;
      closed = true;
      guard(join(directory, 'events.jsonl'), () => fsyncSync(file));
      closeSync(file);
    },
  };
  return recorder;
}

/** A full disk may take a part of a line; the decoder skips such a line. */
function writeWhole(file: number, text: string): void {
  const bytes = Buffer.from(text);
  let offset = 0;
  while (offset < bytes.length) offset += writeSync(file, bytes, offset);
}

export function writeProblem(path: string, error: unknown): Problem {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  const remedy =
    code === 'ENOSPC'
      ? 'The disk is full. Make room, or choose another place with --output DIR, and run `plumb report` on the results directory; what was written before is whole.'
      : code === 'EACCES' || code === 'EROFS' || code === 'EPERM'
        ? 'The place is not writable. Choose another with --output DIR.'
        : 'Choose another place with --output DIR.';
  return new Problem(`cannot write ${path}: ${messageOf(error)}`, remedy, { cause: error });
}

function safeName(name: string): string {
  const safe = name.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^\.+/, '');
  return safe === '' ? 'evidence' : safe.slice(0, 120);
}

/** `pcap.txt`, `pcap-2.txt`, ... */
function freeName(used: Set<string>, path: string): string {
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  let candidate = path;
  for (let number = 2; used.has(candidate); number++) candidate = `${stem}-${number}${extension}`;
  used.add(candidate);
  return candidate;
}

const mediaTypes: Readonly<Record<string, string>> = {
  '.txt': 'text/plain',
  '.log': 'text/plain',
  '.md': 'text/markdown',
  '.json': 'application/json',
  '.jsonl': 'application/jsonl',
  '.yaml': 'application/yaml',
  '.pcap': 'application/vnd.tcpdump.pcap',
  '.pcapng': 'application/x-pcapng',
  '.svg': 'image/svg+xml',
  '.html': 'text/html',
};

function mediaTypeOf(name: string): string {
  return mediaTypes[extname(name)] ?? 'application/octet-stream';
}

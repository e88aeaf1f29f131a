// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import * as fc from 'fast-check';
import { lastLogLines, parseLogLine, readContainerLog } from './container-log.ts';
import type { LogOptions } from './container-log.ts';

const at = (second: number): string =>
  new Date(1_700_000_000_000 + second * 1000).toISOString().replace('Z', '000000Z');
const line = (second: number, text: string, tag = 'F', stream = 'stdout'): string =>
  `${at(second)} ${stream} ${tag} ${text}\n`;

describe('container logs', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'log-'));
    path = join(folder, '0.log');
    writeFileSync(path, line(1, 'one') + line(2, 'tw', 'P') + line(2, 'o') + line(3, 'three', 'F', 'stderr'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function read(options: Partial<LogOptions>, running: () => boolean = () => false): Promise<string> {
    const chunks: Buffer[] = [];
    await readContainerLog(
      path,
      { follow: false, timestamps: false, ...options },
      {
        signal: new AbortController().signal,
        isRunning: async () => running(),
        sink: { write: (chunk) => void chunks.push(chunk) },
      },
    );
    return Buffer.concat(chunks).toString();
  }

  it('are joined from partial lines', async () => expect(await read({})).to.equal('one\ntwo\nthree\n'));
  it('carry timestamps once per line', async () =>
    expect(await read({ timestamps: true })).to.equal(`${at(1)} one\n${at(2)} two\n${at(3)} three\n`));
  it('end with the last lines', async () => expect(await read({ tailLines: 1 })).to.equal('three\n'));
  it('stop at a byte limit', async () => expect(await read({ limitBytes: 5 })).to.equal('one\nt'));
  it('start at a time', async () => expect(await read({ since: 1_700_000_003_000 })).to.equal('three\n'));
  it('show one stream', async () => expect(await read({ stream: 'stderr' })).to.equal('three\n'));
  it('give their end as a termination message', async () =>
    expect(await lastLogLines(path, { lines: 2, bytes: 100 })).to.equal('o\nthree\n'));

  it('are followed across rotation until the container ends', async () => {
    let running = true;
    const reading = read({ follow: true, tailLines: 0 }, () => running);
    await pause(30);
    appendFileSync(path, line(4, 'four'));
    await pause(30);
    renameSync(path, `${path}.20260101-000000`);
    writeFileSync(path, line(5, 'five'));
    await pause(30);
    appendFileSync(path, line(6, 'six'));
    running = false;
    expect(await reading).to.equal('four\nfive\nsix\n');
  });

  it('may hold anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const entry = parseLogLine(Buffer.from(bytes));
        return entry === undefined || entry.stream === 'stdout' || entry.stream === 'stderr';
      }),
      { numRuns: 1000 },
    );
  });
});

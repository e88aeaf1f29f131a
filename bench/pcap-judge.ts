// SPDX-License-Identifier: Apache-2.0
/**
 * How often lines are those of the installed tcpdump, over the captures in the directory PLUMB_BENCH_PCAP_CAPTURES (tcpdump's own are in the
 * folder `tests` of its sources). Counted are packets whose protocols are all promised; which those are, Wireshark's dissectors say.
 */
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { PacketPrinter } from '../probes/pcap-parser/print/packet-printer.ts';
import { CaptureFile } from '../probes/pcap-parser/read/capture-file.ts';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import { outOfScope, splitLines } from './pcap-scope.ts';

const flagSets = ['', '-e', '-v', '-vv', '-tttt', '-#', '-X', '-vv -e -X'];
const linkTypes = new Set([0, 1, 12, 14, 101, 108, 113, 228, 229, 276]);
const mostShown = 40;

export const pcapJudge: Benchmark = {
  name: 'pcap-judge',
  about: 'prints the captures of a directory, and counts the lines that are not those of tcpdump',
  async run(bench) {
    const directory = process.env['PLUMB_BENCH_PCAP_CAPTURES'];
    if (directory === undefined)
      throw new Error(
        'PLUMB_BENCH_PCAP_CAPTURES is not set: name a directory of captures, such as `tests` in the sources of tcpdump',
      );
    for (const program of ['tcpdump', 'sharkd'])
      if (spawnSync(program, ['--version']).error !== undefined)
        throw new Error(`${program} is not installed, and without it nothing can be judged`);
    const score = new Score();
    const dissector = new Dissector();
    try {
      for (const file of readdirSync(directory).toSorted())
        if (/\.(?:pcap|pcapng|cap)$/.test(file))
          await judgeFile(score, dissector, { bench, path: join(directory, file), file });
    } finally {
      dissector.close();
    }
    score.report(bench);
  },
};

interface Judged {
  readonly bench: Bench;
  readonly path: string;
  readonly file: string;
}

async function judgeFile(score: Score, dissector: Dissector, { bench, path, file }: Judged): Promise<void> {
  if (!hasKnownLink(path)) return;
  const protocols = await dissector.protocols(path);
  const lines = await Promise.all(flagSets.map((flags) => tcpdumpLines(path, flags, bench.signal)));
  const plain = lines[0] ?? [];
  for (const [set, flags] of flagSets.entries()) {
    const theirs = lines[set] ?? [];
    const own = splitLines(printed(path, flags));
    for (const [index, expected] of theirs.entries()) {
      // What its dissectors did not reach is not judged.
      const chain = protocols[index];
      const reason = chain === undefined ? 'not dissected' : outOfScope(chain, plain[index] ?? '');
      score.add({ flags, reason, same: own[index] === expected, where: `${file}, packet ${index + 1}` });
    }
  }
}

function hasKnownLink(path: string): boolean {
  const file = new CaptureFile(path);
  const first = file.next();
  file.close();
  return first !== undefined && linkTypes.has(first.captureInterface.linkType);
}

function printed(path: string, flags: string): string {
  const given = flags.split(' ');
  const chunks: Buffer[] = [];
  const printer = new PacketPrinter(
    {
      linkHeader: given.includes('-e'),
      verbosity: given.includes('-vv') ? 2 : given.includes('-v') ? 1 : 0,
      date: given.includes('-tttt'),
      numbers: given.includes('-#'),
      octets: given.includes('-X'),
    },
    (text) => chunks.push(Buffer.from(text)),
  );
  const file = new CaptureFile(path);
  for (let packet = file.next(); packet !== undefined; packet = file.next()) printer.print(packet);
  printer.flush();
  return Buffer.concat(chunks).toString('latin1');
}

async function tcpdumpLines(path: string, flags: string, signal: AbortSignal): Promise<string[]> {
  const args = ['-nn', '-r', path, ...flags.split(' ').filter((flag) => flag !== '')];
  const child = spawn('tcpdump', args, { stdio: ['ignore', 'pipe', 'ignore'], signal });
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  return splitLines(Buffer.concat(chunks).toString('latin1')).filter((line) => line !== '');
}

interface Verdict {
  readonly flags: string;
  /** Why the packet need not be the same; undefined: it has to be. */
  readonly reason: string | undefined;
  readonly same: boolean;
  readonly where: string;
}

class Score {
  readonly #counts = new Map<string, { promised: number; same: number; all: number; allSame: number }>();
  readonly #different = new Map<string, string[]>();
  readonly #reasons = new Map<string, number>();

  add({ flags, reason, same, where }: Verdict): void {
    const counts = this.#counts.get(flags) ?? { promised: 0, same: 0, all: 0, allSame: 0 };
    this.#counts.set(flags, counts);
    counts.all++;
    if (same) counts.allSame++;
    if (reason !== undefined) {
      if (flags === '') this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
      return;
    }
    counts.promised++;
    if (same) counts.same++;
    else this.#different.set(where, [...(this.#different.get(where) ?? []), flags === '' ? 'no flags' : flags]);
  }

  report(bench: Bench): void {
    for (const [flags, { promised, same, all, allSame }] of this.#counts) {
      const name = flags === '' ? 'no flags' : flags;
      bench.record({ name: `identical, ${name}`, unit: '%', better: 'higher' }, ours, [(same / promised) * 100]);
      bench.note(`${name}: ${same} of ${promised} promised packets, ${allSame} of all ${all}`);
    }
    const reasons = [...this.#reasons].toSorted((a, b) => b[1] - a[1]).slice(0, mostShown);
    bench.note(`not promised: ${reasons.map(([reason, count]) => `${count} ${reason}`).join(', ')}`);
    for (const [where, flags] of [...this.#different].slice(0, mostShown))
      bench.note(`differs: ${where}: ${flags.join('; ')}`);
  }
}

/** Wireshark's dissectors as a process that reads one capture after the other. */
class Dissector {
  readonly #child: ChildProcessByStdio<Writable, Readable, null> = spawn('sharkd', ['-'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  readonly #answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  #last = 0;

  /** Protocols of each packet, `eth:ethertype:ip:tcp`; none where the file cannot be read. */
  async protocols(path: string): Promise<string[]> {
    const loaded = (await this.#ask('load', { file: path })) as { error?: unknown };
    if (loaded.error !== undefined) return [];
    const { result } = (await this.#ask('frames', { column0: 'frame.protocols:1' })) as {
      result?: readonly { readonly c: readonly string[] }[];
    };
    return (result ?? []).map(({ c }) => c[0] ?? '');
  }

  close(): void {
    this.#child.stdin.end();
  }

  async #ask(method: string, params: object): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: ++this.#last, method, params })}\n`);
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error('sharkd ended before its last answer');
    return JSON.parse(answer.value);
  }
}

// SPDX-License-Identifier: Apache-2.0
/** `plumb pcap`: reads captures, several in the order of time, and prints packets as tcpdump does, or what their flows went through. */
import type { Command } from 'commander';
import { compileFilter, type Filter } from '../../probes/pcap-parser/filter/filter.ts';
import { FilterError } from '../../probes/pcap-parser/filter/tokens.ts';
import { describeFlow } from '../../probes/pcap-parser/flow-lines.ts';
import { FlowTable } from '../../probes/pcap-parser/flows.ts';
import { Frame } from '../../probes/pcap-parser/frame.ts';
import { packetRecord } from '../../probes/pcap-parser/packet-record.ts';
import { PacketPrinter } from '../../probes/pcap-parser/print/packet-printer.ts';
import { CaptureFile } from '../../probes/pcap-parser/read/capture-file.ts';
import { MergedCapture } from '../../probes/pcap-parser/read/merged-capture.ts';
import type { Packet } from '../../probes/pcap-parser/read/packet.ts';
import { messageOf, Problem } from '../problem.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf } from './exit-code.ts';
import { writeWhole } from './write-whole.ts';

interface PcapOptions {
  readonly read?: string;
  readonly flows?: true;
  readonly json?: true;
  readonly e?: true;
  readonly v: number;
  readonly t: number;
  readonly X?: true;
  readonly '#'?: true;
}

const count = (_: string, before: number): number => before + 1;

export function addCommands(program: Command, { finish }: CommandContext): void {
  program
    .command('pcap')
    .description('read captures, pcap or pcapng, as tcpdump does; several are merged in the order of time')
    .argument('<file...>', 'captures')
    .option('-r, --read <filter>', "only packets that fit, in tcpdump's language: 'tcp port 80 and host 10.244.1.2'")
    .option('--flows', 'the flows instead of the packets, with what went wrong in each')
    .option('--json', 'one JSON object for each packet, or with --flows one for all')
    .option('-n', 'accepted as tcpdump has it: names are never looked up')
    .option('-e', 'the link-layer header too')
    .option('-v', 'more of each packet; -vv and -vvv still more', count, 0)
    .option('-t', '-tttt: the date with the time', count, 0)
    .option('-X', 'octets of each packet, in hexadecimal and as characters')
    .option('-#', 'the number of each packet')
    .action((files: string[], options: PcapOptions) => finish(showFiles(files, options)));
}

/** Damaged files are shown up to the damage; the exit code then is that of a failure. */
function showFiles(paths: readonly string[], options: PcapOptions): number {
  if (options.t !== 0 && options.t !== 4)
    throw new Problem(`-${'t'.repeat(options.t)} is not known`, 'Use -tttt for the date, or nothing.');
  const filter = filterOf(options.read);
  const files = paths.map(open);
  const show = options.flows === true ? flowView(options) : options.json === true ? jsonView() : lineView(options);
  const frame = new Frame();
  try {
    const capture = new MergedCapture(files);
    for (let packet = capture.next(); packet !== undefined; packet = capture.next())
      if (filter === undefined || filter(frame.decode(packet), packet.wireLength)) show.packet(packet);
    show.end();
  } catch (error) {
    // Who reads our lines may stop early, as head does.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
  let damaged = false;
  for (const { path, finding } of files) {
    if (finding === undefined) continue;
    damaged = true;
    process.stderr.write(`${path}: damaged at octet ${finding.offset}: ${finding.what}\n`);
  }
  return exitCodeOf(damaged ? 'failed' : 'passed');
}

function filterOf(expression: string | undefined): Filter | undefined {
  if (expression === undefined) return undefined;
  try {
    return compileFilter(expression);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    const pointer = `${expression}\n${' '.repeat(error.column - 1)}^`;
    throw new Problem(
      `filter, column ${error.column}: ${error.message}\n${pointer}`,
      'See pcap-filter(7) for the language.',
    );
  }
}

function open(path: string): CaptureFile {
  try {
    return new CaptureFile(path);
  } catch (error) {
    throw new Problem(`${path} cannot be read: ${messageOf(error)}`, 'Name captures in pcap or pcapng form.');
  }
}

interface View {
  packet(packet: Packet): void;
  end(): void;
}

function lineView(options: PcapOptions): View {
  const printer = new PacketPrinter(
    {
      linkHeader: options.e === true,
      verbosity: options.v,
      date: options.t === 4,
      numbers: options['#'] === true,
      octets: options.X === true,
    },
    writeAll,
  );
  return { packet: (packet) => printer.print(packet), end: () => printer.flush() };
}

function jsonView(): View {
  const frame = new Frame();
  return {
    packet: (packet) => writeAll(Buffer.from(`${JSON.stringify(packetRecord(packet, frame.decode(packet)))}\n`)),
    end: () => {},
  };
}

function flowView({ json }: PcapOptions): View {
  const table = new FlowTable();
  const frame = new Frame();
  return {
    packet: (packet) => {
      table.add(frame.decode(packet), packet.wireLength, packet.seconds + packet.nanoseconds / 1e9);
    },
    end: () => {
      const { flows, dns, fragments, tooBig, forgotten } = table;
      if (json === true) {
        const answers = { answers: dns.answers, totalSeconds: dns.totalSeconds, slowestSeconds: dns.slowestSeconds };
        const report = { flows, dns: { ...answers, failures: dns.failures }, fragments, tooBig, forgotten };
        writeAll(Buffer.from(`${JSON.stringify(report)}\n`));
        return;
      }
      for (const flow of flows) writeAll(Buffer.from(`${describeFlow(flow)}\n`));
      const notes = [];
      if (dns.answers > 0) {
        const mean = ((dns.totalSeconds / dns.answers) * 1000).toFixed(1);
        notes.push(
          `DNS: ${dns.answers} answers, mean ${mean} ms, slowest ${(dns.slowestSeconds * 1000).toFixed(1)} ms`,
        );
      }
      for (const { name, server, reason } of dns.failures) notes.push(`DNS: ${name} from ${server}: ${reason}`);
      if (fragments > 0) notes.push(`${fragments} later fragments`);
      if (tooBig > 0)
        notes.push(`${tooBig} ICMP messages that a packet is too big for a link: look for an MTU that is too large`);
      if (forgotten > 0) notes.push(`${forgotten} flows that began first are not listed`);
      if (notes.length > 0) writeAll(Buffer.from(`${notes.join('\n')}\n`));
    },
  };
}

function writeAll(text: Buffer): void {
  writeWhole(1, text);
}

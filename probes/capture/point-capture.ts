// SPDX-License-Identifier: Apache-2.0
/** The node's own tcpdump on one interface: its packets as they come, with the time corrected. Nothing is written on the node. */
import type { NodeSession } from '../node-session/node-session.ts';
import { CaptureParser } from '../pcap-parser/read/capture-parser.ts';
import type { CapturePoint } from './capture-points.ts';

export interface PointOptions {
  readonly point: CapturePoint;
  /** In tcpdump's language; empty: everything. */
  readonly filter: string;
  /** Octets kept of each packet. */
  readonly snapLength: number;
  /** tcpdump ends after so many; absent: never. */
  readonly packetsMost?: number;
  /** Added to the time of each packet. */
  readonly correctionMs: number;
}

/** A packet that may be kept. */
export interface CapturedPacket {
  readonly point: CapturePoint;
  readonly linkType: number;
  readonly frame: Buffer;
  readonly wireLength: number;
  /** Since 1970, corrected; whole seconds, and the rest of it. */
  readonly wholeSeconds: number;
  readonly nanoseconds: number;
}

export interface PointCapture {
  readonly point: CapturePoint;
  /** How it ended: undefined while it goes on or after a stop in order. */
  readonly trouble: string | undefined;
  /** Packets that the kernel could not hand to tcpdump. Known after the end. */
  readonly lost: number;
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

const readyMs = 10_000;

/** Resolves when tcpdump says that it listens. Errors name the point and give tcpdump's own words. */
export async function captureAt(
  session: NodeSession,
  { point, filter, snapLength, packetsMost, correctionMs }: PointOptions,
  take: (packet: CapturedPacket) => void,
): Promise<PointCapture> {
  const parser = new CaptureParser();
  let words = '';
  let ready: () => void = () => undefined;
  const listening = new Promise<void>((resolve) => (ready = resolve));
  const argv = ['tcpdump', '-Z', 'root', '-i', point.interface, '-n', '-U', '--immediate-mode', '-B', '4096'];
  const process = await session.start(
    {
      argv: [
        ...argv,
        '--time-stamp-precision=nano',
        '-s',
        String(snapLength),
        '-w',
        '-',
        ...(packetsMost === undefined ? [] : ['-c', String(packetsMost)]),
        ...(filter === '' ? [] : [filter]),
      ],
      ...(point.pid === undefined ? {} : { pid: point.pid }),
    },
    {
      stderr: (chunk) => {
        words = (words + chunk.toString()).slice(-2_000);
        if (words.includes('listening on')) ready();
      },
      stdout: (chunk) => {
        parser.push(chunk);
        for (let packet = parser.next(); packet !== undefined; packet = parser.next()) {
          const { data, start, end, wireLength, captureInterface } = packet;
          const time = corrected(packet.seconds, packet.nanoseconds, correctionMs);
          const frame = Buffer.from(data.subarray(start, end));
          take({ point, linkType: captureInterface.linkType, frame, wireLength, ...time });
        }
      },
    },
  );
  let stopped = false;
  let trouble: string | undefined;
  let lost = 0;
  const ended = process.ended.then((code) => {
    lost = Number(/(\d+) packets? dropped by kernel/.exec(words)?.[1] ?? 0);
    if (!stopped) trouble = code === -1 ? 'the session was lost' : ownWords(words);
  });
  const overdue = new Promise<'overdue'>((resolve) => setTimeout(() => resolve('overdue'), readyMs).unref());
  const first = await Promise.race([listening, ended.then(() => 'ended' as const), overdue]);
  if (first !== undefined) {
    stopped = true;
    await process.stop();
    throw new Error(`capture at ${point.name}: ${first === 'overdue' ? 'tcpdump does not begin' : ownWords(words)}`);
  }
  return {
    point,
    ended,
    get trouble() {
      return trouble;
    },
    get lost() {
      return lost;
    },
    stop: async () => {
      stopped = true;
      await process.stop();
      await ended;
    },
  };
}

function ownWords(words: string): string {
  const lines = words
    .split('\n')
    .filter((line) => line !== '' && !/^tcpdump: (verbose|listening)|packets? /.test(line));
  return lines.join('; ') || 'tcpdump ended';
}

function corrected(
  seconds: number,
  nanoseconds: number,
  correctionMs: number,
): { readonly wholeSeconds: number; readonly nanoseconds: number } {
  const sum = nanoseconds + Math.round(correctionMs * 1e6);
  const carry = Math.floor(sum / 1e9);
  return { wholeSeconds: seconds + carry, nanoseconds: sum - carry * 1e9 };
}

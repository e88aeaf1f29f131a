// SPDX-License-Identifier: Apache-2.0
/**
 * Captures at several places at once and gives one stream: in the order of time, each packet with the number under which it is known at every
 * place where it was seen. Memory is bounded whatever is captured and for however long.
 */
import type { ClockOffset, NodeSession } from '../node-session/node-session.ts';
import type { Frame } from '../pcap-parser/frame.ts';
import { compileFilter, type Filter } from '../pcap-parser/filter/filter.ts';
import type { Packet } from '../pcap-parser/read/packet.ts';
import type { CapturePoint } from './capture-points.ts';
import { endpointsFilter, filterFor, type FilterInput } from './filters.ts';
import { InnermostPacket } from './innermost-packet.ts';
import { captureAt, type CapturedPacket, type PointCapture } from './point-capture.ts';
import { SamePackets, type Sighting } from './same-packet.ts';
import { TimeMerge } from './time-merge.ts';

export interface CaptureOptions extends FilterInput {
  readonly points: readonly CapturePoint[];
  readonly sessions: ReadonlyMap<string, NodeSession>;
  readonly snapLength: number;
  /** At each point; absent: no bound. */
  readonly packetsMost?: number;
  /** A point at which nothing can be captured is told in the summary and stops no other. */
  readonly partial?: boolean;
  /** Called in the order of time. */
  readonly take: (seen: SeenPacket) => void;
}

export interface SeenPacket extends Sighting {
  readonly captured: CapturedPacket;
  /** Index in `points`. */
  readonly place: number;
  readonly seconds: number;
  /** The packet as a reader would give it; holds only during the call. */
  readonly packet: Packet;
  /** The endpoints' own packet; holds only during the call. */
  readonly frame: Frame;
  readonly tunnel: string | undefined;
}

export interface CaptureSummary {
  readonly packets: number;
  /** Packets that the kernels dropped because tcpdump was too slow. */
  readonly lost: number;
  /** Packets that came too late to be put in order. */
  readonly late: number;
  readonly clocks: ReadonlyMap<string, ClockOffset>;
  readonly troubles: readonly string[];
}

export interface RunningCapture {
  /** Packets that have come so far, those that are held back included. */
  readonly received: () => number;
  readonly clocks: ReadonlyMap<string, ClockOffset>;
  /** Resolves when every tcpdump has ended by itself. */
  readonly allEnded: Promise<void>;
  /** Hands on what is held back, then resolves. */
  stop(): Promise<CaptureSummary>;
}

const holdSeconds = 0.4;
const advanceMs = 100;
const heldOctetsMost = 64 * 1024 * 1024;
/** A clock is corrected only where it is surely wrong: a correction smaller than its own error would spoil the order. */
const surely = 1;

export function correctionOf({ aheadMs, uncertaintyMs }: ClockOffset): number {
  return Math.abs(aheadMs) > uncertaintyMs + surely ? -aheadMs : 0;
}

/** Resolves once every point listens. If one cannot, the others are stopped and its error is thrown. */
export async function startCapture(options: CaptureOptions): Promise<RunningCapture> {
  const { points, sessions, snapLength, packetsMost, take } = options;
  const nodes = [...new Set(points.map(({ node }) => node))];
  const clocks = new Map<string, ClockOffset>();
  await Promise.all(nodes.map(async (node) => clocks.set(node, await sessionOf(sessions, node).clockOffset())));
  const wantedInside = insideFilter(options);
  const same = new SamePackets();
  const decoder = new InnermostPacket();
  const places = new Map(points.map((point, index) => [point, index]));
  let packets = 0;
  const merge = new TimeMerge<Held>({
    holdSeconds,
    mostOctets: heldOctetsMost,
    take: ({ captured, seconds }) => {
      const packet = packetOf(captured);
      const frame = decoder.decode(packet);
      const { tunnel } = decoder;
      if (tunnel !== undefined && wantedInside !== undefined && !wantedInside(frame, captured.wireLength)) return;
      packets++;
      const place = places.get(captured.point) ?? 0;
      take({ captured, place, seconds, packet, frame, tunnel, ...same.see(frame, place, seconds) });
    },
  });
  let received = 0;
  const add = (captured: CapturedPacket): void => {
    received++;
    const seconds = captured.wholeSeconds + captured.nanoseconds / 1e9;
    merge.add({ captured, seconds, size: captured.frame.length + 200 });
  };
  const begun = await Promise.allSettled(
    points.map((point) =>
      captureAt(
        sessionOf(sessions, point.node),
        {
          point,
          filter: filterFor(point, options),
          snapLength,
          ...(packetsMost === undefined ? {} : { packetsMost }),
          correctionMs: correctionOf(clocks.get(point.node) ?? never),
        },
        add,
      ),
    ),
  );
  const captures = begun.filter((one) => one.status === 'fulfilled').map(({ value }) => value);
  const failed = begun.filter((one) => one.status === 'rejected').map(({ reason }) => reason as Error);
  const [first] = failed;
  if (first !== undefined && options.partial !== true) {
    await Promise.allSettled(captures.map((capture) => capture.stop()));
    throw first;
  }
  const timer = setInterval(() => merge.advance(Date.now() / 1000), advanceMs);
  return {
    received: () => received,
    clocks,
    allEnded: Promise.all(captures.map(({ ended }) => ended)).then(() => undefined),
    stop: async () => {
      const stopped = await Promise.allSettled(captures.map((capture) => capture.stop()));
      clearInterval(timer);
      merge.finish();
      return {
        packets,
        lost: captures.reduce((sum, { lost }) => sum + lost, 0),
        late: merge.late,
        clocks,
        troubles: [
          ...failed.map(({ message }) => message),
          ...troublesOf(captures),
          ...stopped.filter((one) => one.status === 'rejected').map(({ reason }) => String(reason)),
        ],
      };
    },
  };
}

const never: ClockOffset = { aheadMs: 0, uncertaintyMs: 0 };

interface Held {
  readonly captured: CapturedPacket;
  readonly seconds: number;
  readonly size: number;
}

function troublesOf(captures: readonly PointCapture[]): string[] {
  return captures.flatMap(({ point, trouble }) => (trouble === undefined ? [] : [`${point.name}: ${trouble}`]));
}

function insideFilter(options: FilterInput): Filter | undefined {
  const expression = endpointsFilter(options);
  return expression === '' ? undefined : compileFilter(expression);
}

function sessionOf(sessions: ReadonlyMap<string, NodeSession>, node: string): NodeSession {
  const session = sessions.get(node);
  if (session === undefined) throw new TypeError(`no session on node ${node}`);
  return session;
}

function packetOf({ frame, wireLength, wholeSeconds, nanoseconds, linkType, point }: CapturedPacket): Packet {
  return {
    data: frame,
    start: 0,
    end: frame.length,
    wireLength,
    seconds: wholeSeconds,
    nanoseconds,
    captureInterface: { linkType, name: point.name, snapLength: 0 },
    comment: undefined,
  };
}

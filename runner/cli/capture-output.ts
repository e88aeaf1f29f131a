// SPDX-License-Identifier: Apache-2.0
/** Where captured packets go: a pcapng file or pipe, and lines in the terminal. */
import { closeSync, openSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { CapturePoint } from '../../probes/capture/capture-points.ts';
import type { SeenPacket } from '../../probes/capture/capture.ts';
import { LiveLines } from '../../probes/capture/live-lines.ts';
import { pcapng } from '../../probes/pcap-parser/capture-writer.ts';
import { messageOf, Problem } from '../problem.ts';
import type { CaptureFlags } from './capture.ts';
import { writeWhole } from './write-whole.ts';

export interface CaptureOutput {
  /** In words, why no more can be taken. */
  take(seen: SeenPacket): string | undefined;
  close(): void;
}

/** A disk is never filled: this much is left free. */
const keepFreeOctets = 100e6;
const lookAtDiskEvery = 16e6;
const ethernet = 1;

export function captureFile(
  path: string,
  points: readonly CapturePoint[],
  { names, snapLength }: { readonly names: ReadonlyMap<string, string>; readonly snapLength: number },
): CaptureOutput {
  const isPipe = path === '-';
  const file = isPipe ? 1 : open(path);
  // The link type of an interface is known with its first packet: its description is written then.
  const indexes = new Map<string, number>();
  let written = 0;
  let lookAt = 0;
  const write = (octets: Uint8Array): void => {
    writeWhole(file, octets);
    written += octets.length;
  };
  write(pcapng.section());
  for (const { name } of points) {
    indexes.set(`${name} ${ethernet}`, indexes.size);
    write(pcapng.interface({ linkType: ethernet, name, snapLength }));
  }
  write(pcapng.names(names));
  const indexOf = (name: string, linkType: number): number => {
    const key = `${name} ${linkType}`;
    const known = indexes.get(key);
    if (known !== undefined) return known;
    write(pcapng.interface({ linkType, name, snapLength }));
    indexes.set(key, indexes.size);
    return indexes.size - 1;
  };
  return {
    take: ({ captured, number, turn, seconds, firstSeconds }) => {
      const { frame, wireLength, wholeSeconds, nanoseconds, linkType, point } = captured;
      const since = turn === 1 ? '' : `, ${((seconds - firstSeconds) * 1e6).toFixed(0)} us after the first`;
      try {
        const interfaceIndex = indexOf(point.name, linkType);
        const comment = `packet ${number}, place ${turn}${since}`;
        write(
          pcapng.packet({
            interfaceIndex,
            seconds: wholeSeconds,
            nanoseconds,
            frame,
            wireLength,
            comment,
            packetId: number,
          }),
        );
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EPIPE' ? 'the reader of the pipe has gone' : messageOf(error);
      }
      if (isPipe || written < lookAt) return undefined;
      lookAt = written + lookAtDiskEvery;
      const { bavail, bsize } = statfsSync(dirname(resolve(path)));
      return bavail * bsize < keepFreeOctets ? `less than ${keepFreeOctets / 1e6} MB are free on the disk` : undefined;
    },
    close: () => {
      if (!isPipe) closeSync(file);
    },
  };
}

export function livePrint(
  points: readonly CapturePoint[],
  { names, flags }: { readonly names: ReadonlyMap<string, string>; readonly flags: CaptureFlags },
): CaptureOutput {
  const lines = new LiveLines({
    names,
    linkHeader: flags.e === true,
    verbosity: flags.v,
    octets: flags.X === true,
    placeWidth: Math.max(...points.map(({ name }) => name.length)),
  });
  // With -w - the packets have stdout.
  const file = flags.write === '-' ? 2 : 1;
  return {
    take: (seen) => {
      try {
        writeWhole(file, Buffer.from(lines.line(seen)));
        return undefined;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EPIPE' ? 'nobody reads any more' : messageOf(error);
      }
    },
    close: () => undefined,
  };
}

function open(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw new Problem(`${path} cannot be written: ${messageOf(error)}`, 'Name another file with -w.');
  }
}

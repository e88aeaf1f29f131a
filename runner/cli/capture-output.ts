// SPDX-License-Identifier: Apache-2.0
/** Where captured packets go: a pcapng file or pipe, and lines in the terminal. */
import { closeSync, openSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { CapturePoint } from '../../probes/capture/capture-points.ts';
import type { SeenPacket } from '../../probes/capture/capture.ts';
import { LiveLines } from '../../probes/capture/live-lines.ts';
import { packetFile } from '../../probes/capture/packet-file.ts';
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

export function captureFile(
  path: string,
  points: readonly CapturePoint[],
  { names, snapLength }: { readonly names: ReadonlyMap<string, string>; readonly snapLength: number },
): CaptureOutput {
  const isPipe = path === '-';
  const file = isPipe ? 1 : open(path);
  let written = 0;
  let lookAt = 0;
  const add = packetFile({
    write: (octets) => {
      writeWhole(file, octets);
      written += octets.length;
    },
    places: points.map(({ name }) => name),
    names,
    snapLength,
  });
  return {
    take: (seen) => {
      try {
        add(seen);
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

// SPDX-License-Identifier: Apache-2.0
/** Captured packets as pcapng: an interface for each place, one number for one packet wherever it was seen. */
import { pcapng } from '../pcap-parser/capture-writer.ts';
import type { SeenPacket } from './capture.ts';

export interface PacketFileOptions {
  /** Takes the octets, in order. Its errors are those of `add` and of the call that makes the file. */
  readonly write: (octets: Uint8Array) => void;
  /** Places that are described at the start, as Ethernet, whether packets come from them or not. */
  readonly places?: readonly string[];
  /** Names by address, for readers that resolve names. */
  readonly names?: ReadonlyMap<string, string>;
  /** Octets; absent: no limit. */
  readonly snapLength?: number;
}

const ethernet = 1;

/** Writes the head; what comes back writes a packet. */
export function packetFile({ write, places = [], names, snapLength }: PacketFileOptions): (seen: SeenPacket) => void {
  const indexes = new Map<string, number>();
  // The link type of a place is known for certain with its first packet only.
  const indexOf = (name: string, linkType: number): number => {
    const key = `${name} ${linkType}`;
    const known = indexes.get(key);
    if (known !== undefined) return known;
    write(pcapng.interface({ linkType, name, ...(snapLength !== undefined && { snapLength }) }));
    indexes.set(key, indexes.size);
    return indexes.size - 1;
  };
  write(pcapng.section());
  for (const name of places) indexOf(name, ethernet);
  if (names !== undefined) write(pcapng.names(names));
  return ({ captured, number, turn, seconds, firstSeconds }) => {
    const { point, linkType, frame, wireLength, wholeSeconds, nanoseconds } = captured;
    const since = turn === 1 ? '' : `, ${((seconds - firstSeconds) * 1e6).toFixed(0)} us after the first`;
    const packet = {
      interfaceIndex: indexOf(point.name, linkType),
      seconds: wholeSeconds,
      nanoseconds,
      frame,
      wireLength,
      comment: `packet ${number}, place ${turn}${since}`,
      packetId: number,
    };
    write(pcapng.packet(packet));
  };
}

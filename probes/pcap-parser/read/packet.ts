// SPDX-License-Identifier: Apache-2.0
/** What every reader yields and every consumer takes: one captured frame, and what may be wrong with the file around it. */

/** Where a packet was captured. pcap files have one interface, pcapng files any number. */
export interface CaptureInterface {
  /** Link type as registered by tcpdump.org (1 is Ethernet). */
  readonly linkType: number;
  readonly name: string | undefined;
  /** Captured octets are at most this many; 0: no limit. */
  readonly snapLength: number;
}

/**
 * One packet. The reader reuses object and buffer: both hold until the next call of its `next()`. Who keeps a packet copies it.
 * The frame is data[start, end).
 */
export interface Packet {
  data: Buffer;
  start: number;
  end: number;
  /** Octets on the wire; more than captured if the capture cut the packet. */
  wireLength: number;
  /** Since 1970, whole seconds and the rest of it. */
  seconds: number;
  nanoseconds: number;
  captureInterface: CaptureInterface;
  comment: string | undefined;
}

/** Damage in a capture file; the packets before it have been read. */
export interface Finding {
  /** Octets from the beginning of the file. */
  readonly offset: number;
  readonly what: string;
}

/** More than this no capture program writes (libpcap's own limit); a longer one is a damaged length. */
export const longestPacket = 262_144;

// SPDX-License-Identifier: Apache-2.0
/**
 * Knows a packet again at another place of its way. Address translation, routing and tunnels change addresses, ports, time to live and
 * checksums; what they leave is the IP identification, the sequence numbers, the lengths and the payload. Memory is bounded.
 * Segments that an offloading network card cut or joined between two places are not recognised.
 */
import type { Frame } from '../pcap-parser/frame.ts';

/** The same octets seen later than this are another packet. */
const togetherSeconds = 3;
const rememberedMost = 20_000;
const payloadCompared = 48;

export interface Sighting {
  /** Counts up from 1; the same for every place where the packet was seen. */
  readonly number: number;
  /** 1 for the first place. */
  readonly turn: number;
  /** At the first place; seconds since 1970. */
  readonly firstSeconds: number;
}

interface Known {
  readonly number: number;
  readonly firstSeconds: number;
  /** Interface and addresses of each sighting: a packet passes an interface twice only if it was translated in between. */
  readonly places: Set<string>;
}

export class SamePackets {
  readonly #known = new Map<string, Known>();
  #count = 0;

  /** Packets have to come in the order of time. `frame` is the innermost one. */
  see(frame: Frame, place: number, seconds: number): Sighting {
    const key = fingerprint(frame);
    if (key === undefined) return { number: ++this.#count, turn: 1, firstSeconds: seconds };
    const where = `${place} ${frame.sourceAddress}.${frame.sourcePort}>${frame.destinationAddress}.${frame.destinationPort}`;
    const known = this.#known.get(key);
    if (known !== undefined && seconds - known.firstSeconds <= togetherSeconds && !known.places.has(where)) {
      known.places.add(where);
      return { number: known.number, turn: known.places.size, firstSeconds: known.firstSeconds };
    }
    const fresh: Known = { number: ++this.#count, firstSeconds: seconds, places: new Set([where]) };
    // The map keeps the order of insertion: the oldest goes first.
    this.#known.delete(key);
    this.#known.set(key, fresh);
    if (this.#known.size > rememberedMost) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    return { number: fresh.number, turn: 1, firstSeconds: seconds };
  }
}

/** undefined for what is no IP packet. */
export function fingerprint(frame: Frame): string | undefined {
  const { data, version, ip, transport, protocol, end } = frame;
  if (version === 0) return undefined;
  const network =
    version === 4
      ? `${frame.u16(ip + 2)}/${frame.u16(ip + 4)}/${frame.u16(ip + 6) & 0x3fff}`
      : `6/${frame.u16(ip + 4)}`;
  const text = (from: number): string =>
    data.toString('latin1', Math.min(from, end), Math.min(end, frame.ipEnd, from + payloadCompared));
  if (frame.laterFragment || transport < 0) return `${network} ${protocol} ${text(ip + (version === 4 ? 20 : 40))}`;
  switch (protocol) {
    case 6: {
      const payload = transport + (frame.u8(transport + 12) >> 4) * 4;
      const numbers = data.toString('latin1', transport + 4, Math.min(end, transport + 16));
      // The options hold the time stamps, which tell one transmission from the next.
      return `${network} tcp ${numbers} ${data.toString('latin1', Math.min(end, transport + 20), Math.min(end, payload))} ${text(payload)}`;
    }
    case 17:
      return `${network} udp ${frame.u16(transport + 4)} ${text(transport + 8)}`;
    case 1:
    case 58: {
      const type = frame.u8(transport);
      const isError = protocol === 1 ? type === 3 || type === 11 || type === 12 || type === 5 : type < 128;
      // An error carries the packet that it is about, whose addresses are translated as well.
      return isError
        ? `${network} error ${frame.u16(transport)}`
        : `${network} icmp ${frame.u16(transport)} ${frame.u16(transport + 6)} ${text(transport + 8)}`;
    }
    default:
      return `${network} ${protocol} ${text(transport)}`;
  }
}

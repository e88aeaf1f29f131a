// SPDX-License-Identifier: Apache-2.0
/** Captured packets as sightings: addresses, flags, ICMP errors with the flow they are about, and neighbour questions. Pure. */
import type { SeenPacket } from '../capture/capture.ts';
import { Frame } from '../pcap-parser/frame.ts';
import type { CapturePoint } from '../capture/capture-points.ts';
import type { IcmpError, NeighbourQuestion, Place, Sighting } from './observations.ts';

const raw = { linkType: 101, name: undefined, snapLength: 0 };
const letters: readonly (readonly [number, string])[] = [
  [1, 'F'],
  [2, 'S'],
  [4, 'R'],
  [8, 'P'],
  [16, '.'],
];

export function placeOf({ node, kind, interface: name, pod }: CapturePoint): Place {
  return { node, kind, interface: name, ...(pod === undefined ? {} : { pod: `${pod.namespace}/${pod.name}` }) };
}

/** undefined for what is no IP packet. */
export function sightingOf({ frame, captured, number, seconds, tunnel }: SeenPacket): Sighting | undefined {
  if (frame.version === 0) return undefined;
  const { ip, version, protocol, transport } = frame;
  const tcp = protocol === 6 && transport >= 0;
  const error = errorOf(frame);
  return {
    packet: number,
    place: placeOf(captured.point),
    seconds,
    source: frame.sourceAddress,
    sourcePort: frame.sourcePort,
    destination: frame.destinationAddress,
    destinationPort: frame.destinationPort,
    protocol,
    ...(tcp ? { flags: flagsOf(frame.u8(transport + 13)) } : {}),
    identification: version === 4 ? frame.u16(ip + 4) : -1,
    length: frame.ipEnd - ip,
    ...(error === undefined ? {} : { error }),
    ...(tunnel === undefined ? {} : { tunnel }),
  };
}

/** In tcpdump's order of letters. */
function flagsOf(octet: number): string {
  const order = ['F', 'S', 'R', 'P', '.'];
  const set = new Set(letters.filter(([bit]) => (octet & bit) !== 0).map(([, letter]) => letter));
  return order.filter((letter) => set.has(letter)).join('');
}

function errorOf(frame: Frame): Sighting['error'] {
  const { protocol, transport, data, end } = frame;
  if ((protocol !== 1 && protocol !== 58) || transport < 0) return undefined;
  const type = frame.u8(transport);
  const code = frame.u8(transport + 1);
  const isError = protocol === 1 ? type === 3 || type === 11 || type === 5 || type === 12 : type >= 1 && type <= 4;
  if (!isError) return undefined;
  const inner = new Frame().decode({
    data,
    start: transport + 8,
    end,
    wireLength: end - transport - 8,
    seconds: 0,
    nanoseconds: 0,
    captureInterface: raw,
    comment: undefined,
  });
  if (inner.version === 0) return undefined;
  const what = protocol === 1 ? kindOf4(type, code) : kindOf6(type, code);
  const mtu = what !== 'too-big' ? undefined : protocol === 1 ? frame.u16(transport + 6) : frame.u32(transport + 4);
  return {
    what,
    ...(mtu === undefined ? {} : { mtu }),
    about: {
      source: inner.sourceAddress,
      sourcePort: inner.sourcePort,
      destination: inner.destinationAddress,
      destinationPort: inner.destinationPort,
    },
  };
}

function kindOf4(type: number, code: number): IcmpError {
  if (type === 11) return 'time-exceeded';
  if (type !== 3) return 'other';
  if (code === 3) return 'port-unreachable';
  if (code === 4) return 'too-big';
  if (code === 9 || code === 10 || code === 13) return 'prohibited';
  if (code === 0 || code === 6 || code === 11) return 'net-unreachable';
  return 'host-unreachable';
}

function kindOf6(type: number, code: number): IcmpError {
  if (type === 2) return 'too-big';
  if (type === 3) return 'time-exceeded';
  if (type !== 1) return 'other';
  if (code === 4) return 'port-unreachable';
  if (code === 1 || code === 5 || code === 6) return 'prohibited';
  return code === 0 ? 'net-unreachable' : 'host-unreachable';
}

/** ARP and neighbour discovery, put together to questions with or without an answer. */
export class NeighbourTalk {
  readonly #asked = new Map<string, { -readonly [Key in keyof NeighbourQuestion]: NeighbourQuestion[Key] }>();

  get questions(): NeighbourQuestion[] {
    return [...this.#asked.values()];
  }

  see({ frame, packet, captured, seconds }: SeenPacket): void {
    const place = placeOf(captured.point);
    const key = (address: string): string => `${place.node} ${place.interface} ${place.pod ?? ''} ${address}`;
    const ask = (wanted: string): void => {
      if (!this.#asked.has(key(wanted))) this.#asked.set(key(wanted), { place, seconds, wanted, answered: false });
    };
    const answer = (address: string): void => {
      const question = this.#asked.get(key(address));
      if (question !== undefined) question.answered = true;
    };
    if (frame.etherType === 0x0806) {
      const at = (frame.ethernet >= 0 ? frame.ethernet + 14 : packet.start) + 6;
      const address = (from: number): string => [...packet.data.subarray(from, from + 4)].join('.');
      if (frame.u16(at) === 1) ask(address(at + 18));
      else answer(address(at + 8));
    } else if (frame.protocol === 58 && frame.transport >= 0) {
      const type = frame.u8(frame.transport);
      const target = frame.data.subarray(frame.transport + 8, frame.transport + 24);
      if (type === 135 && target.length === 16) ask(addressOf6(target));
      else if (type === 136 && target.length === 16) answer(addressOf6(target));
    }
  }
}

function addressOf6(octets: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((octets[index * 2] ?? 0) << 8) | (octets[index * 2 + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

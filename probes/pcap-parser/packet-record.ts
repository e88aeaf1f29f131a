// SPDX-License-Identifier: Apache-2.0
/** A packet as data: addresses, ports, flags, and what its first octets say about the application. */
import type { Frame } from './frame.ts';
import { questionName } from './dns-transactions.ts';
import type { Packet } from './read/packet.ts';
import { clientHello, type ClientHello } from './tls.ts';

export interface PacketRecord {
  /** Seconds since 1970. */
  readonly time: number;
  readonly interface?: string;
  readonly captured: number;
  readonly length: number;
  readonly etherType: number;
  readonly vlans?: readonly number[];
  readonly source?: string;
  readonly destination?: string;
  readonly protocol?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tcpFlags?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly tls?: ClientHello;
  readonly http?: string;
  /** Name that a DNS message over UDP asks for, without the dot at its end; the root is a dot. */
  readonly dns?: string;
  readonly wireguard?: string;
  readonly comment?: string;
}

export function packetRecord(packet: Packet, frame: Frame): PacketRecord {
  const tcp = frame.protocol === 6 && frame.transport >= 0 && frame.transport + 20 <= frame.end;
  const payload = tcp ? frame.transport + (frame.u8(frame.transport + 12) >> 4) * 4 : -1;
  const tls = tcp ? clientHello(frame, payload) : undefined;
  const http = tcp ? httpLine(frame, payload) : undefined;
  const dns = dnsName(frame);
  const wireguard = wireguardMessage(frame);
  return {
    time: packet.seconds + packet.nanoseconds / 1e9,
    ...(packet.captureInterface.name === undefined ? {} : { interface: packet.captureInterface.name }),
    captured: packet.end - packet.start,
    length: packet.wireLength,
    etherType: frame.etherType,
    ...(frame.vlans.length === 0 ? {} : { vlans: [...frame.vlans] }),
    ...(frame.version === 0
      ? {}
      : { source: frame.sourceAddress, destination: frame.destinationAddress, protocol: frame.protocol }),
    ...(frame.sourcePort < 0 ? {} : { sourcePort: frame.sourcePort, destinationPort: frame.destinationPort }),
    ...(tcp
      ? {
          tcpFlags: frame.u8(frame.transport + 13),
          sequence: frame.u32(frame.transport + 4),
          acknowledgement: frame.u32(frame.transport + 8),
        }
      : {}),
    ...(tls === undefined ? {} : { tls }),
    ...(http === undefined ? {} : { http }),
    ...(dns === undefined ? {} : { dns }),
    ...(wireguard === undefined ? {} : { wireguard }),
    ...(packet.comment === undefined ? {} : { comment: packet.comment }),
  };
}

const httpLinePattern = /^(?:[A-Z]{3,16} \S+ HTTP\/1\.[01]|HTTP\/1\.[01] \d{3}[^\r\n]*)(?=\r?\n)/;

function httpLine(frame: Frame, at: number): string | undefined {
  const first = frame.u8(at);
  if (first < 0x41 || first > 0x5a) return undefined;
  return httpLinePattern.exec(frame.data.toString('latin1', at, Math.min(at + 2048, frame.end)))?.[0];
}

/** Of both questions and answers: an answer repeats its question. */
function dnsName(frame: Frame): string | undefined {
  if (frame.protocol !== 17 || (frame.sourcePort !== 53 && frame.destinationPort !== 53)) return undefined;
  const at = frame.transport + 8;
  if (frame.u16(at + 4) < 1 || frame.u8(at + 12) < 0) return undefined;
  const name = questionName(frame, at + 12);
  return name === '.' ? name : name.slice(0, -1);
}

const wireguardTypes = ['', 'handshake initiation', 'handshake response', 'cookie reply', 'data'];
const wireguardSizes = [0, 148, 92, 64, 32];

/** The type, three octets of zero, and a length that fits it: nothing else tells WireGuard from other datagrams. */
function wireguardMessage(frame: Frame): string | undefined {
  if (frame.protocol !== 17 || frame.transport < 0) return undefined;
  const at = frame.transport + 8;
  const head = frame.u32(at);
  const type = head >>> 24;
  if (type < 1 || type > 4 || (head & 0xff_ffff) !== 0) return undefined;
  const length = frame.u16(frame.transport + 4) - 8;
  const size = wireguardSizes[type] ?? 0;
  return (type === 4 ? length >= size && length % 16 === 0 : length === size) ? wireguardTypes[type] : undefined;
}

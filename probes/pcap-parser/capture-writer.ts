// SPDX-License-Identifier: Apache-2.0
/** Writes pcapng: little endian, nanoseconds, interfaces with names, comments on packets, and names of addresses. */
import { isIPv4 } from 'node:net';

export interface WrittenInterface {
  readonly linkType: number;
  readonly name?: string;
  /** Octets; absent: no limit. */
  readonly snapLength?: number;
}

export interface WrittenPacket {
  /** Index of the interface, in the order of `interface` calls. */
  readonly interfaceIndex: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly frame: Uint8Array;
  /** Absent: the frame is whole. */
  readonly wireLength?: number;
  readonly comment?: string;
  /** The same number for one packet seen at several interfaces. */
  readonly packetId?: number;
}

/** Each call returns the octets to append to the file; `section` comes first. */
export const pcapng = {
  section(): Buffer {
    const body = Buffer.alloc(16);
    body.writeUInt32LE(0x1a2b3c4d, 0);
    body.writeUInt16LE(1, 4);
    // The length of the section is not known while it is written.
    body.writeBigInt64LE(-1n, 8);
    return block(0x0a0d0d0a, [body]);
  },

  interface({ linkType, name, snapLength }: WrittenInterface): Buffer {
    const body = Buffer.alloc(8);
    body.writeUInt16LE(linkType, 0);
    body.writeUInt32LE(snapLength ?? 0, 4);
    const named = name === undefined ? [] : [option(2, Buffer.from(name))];
    return block(1, [body, ...named, option(9, Buffer.from([9])), option(0, Buffer.alloc(0))]);
  },

  packet(packet: WrittenPacket): Buffer {
    const { frame, comment, packetId } = packet;
    const body = Buffer.alloc(20);
    const time = BigInt(packet.seconds) * 1_000_000_000n + BigInt(packet.nanoseconds);
    body.writeUInt32LE(packet.interfaceIndex, 0);
    body.writeUInt32LE(Number(time >> 32n), 4);
    body.writeUInt32LE(Number(time & 0xffff_ffffn), 8);
    body.writeUInt32LE(frame.length, 12);
    body.writeUInt32LE(packet.wireLength ?? frame.length, 16);
    const options: Buffer[] = [];
    if (comment !== undefined) options.push(option(1, Buffer.from(comment)));
    if (packetId !== undefined) {
      const id = Buffer.alloc(8);
      id.writeBigUInt64LE(BigInt(packetId));
      options.push(option(5, id));
    }
    if (options.length > 0) options.push(option(0, Buffer.alloc(0)));
    return block(6, [body, padded(frame), ...options]);
  },

  /** Names by IPv4 address; readers that resolve names take them from here. */
  names(byAddress: ReadonlyMap<string, string>): Buffer {
    const records = [...byAddress]
      .filter(([address]) => isIPv4(address))
      .map(([address, name]) => option(1, Buffer.from([...address.split('.').map(Number), ...Buffer.from(name), 0])));
    return block(4, [...records, option(0, Buffer.alloc(0))]);
  },
};

function block(type: number, parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 12);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, ...parts, head.subarray(4)]);
}

function option(code: number, value: Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return Buffer.concat([head, padded(value)]);
}

function padded(octets: Uint8Array): Uint8Array {
  const rest = octets.length % 4;
  return rest === 0 ? octets : Buffer.concat([octets, Buffer.alloc(4 - rest)]);
}

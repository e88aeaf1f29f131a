// SPDX-License-Identifier: Apache-2.0
/** Finds the packet within the packet: what a tunnel (VXLAN, Geneve, IPIP, GRE without options) carries from node to node. */
import { Frame } from '../pcap-parser/frame.ts';
import type { Packet } from '../pcap-parser/read/packet.ts';

const vxlanPorts = new Set([4789, 8472]);
const genevePort = 6081;
/** Tunnels in tunnels end here. */
const deepest = 3;
const ethernet = { linkType: 1, name: undefined, snapLength: 0 };
const raw = { linkType: 101, name: undefined, snapLength: 0 };

export class InnermostPacket {
  /** What the wire shows. */
  readonly outer = new Frame();
  readonly #inner = new Frame();
  #tunnel: string | undefined;

  /** `vxlan`, `geneve`, `ipip`, `gre`, or undefined where nothing is wrapped. */
  get tunnel(): string | undefined {
    return this.#tunnel;
  }

  /** The frame of the endpoints' own packet; holds until the next call. */
  decode(packet: Packet): Frame {
    this.#tunnel = undefined;
    this.outer.decode(packet);
    let frame = this.outer;
    for (let depth = 0; depth < deepest; depth++) {
      const carried = carriedBy(frame);
      if (carried === undefined) break;
      this.#tunnel = carried.tunnel;
      const captureInterface = carried.ethernet ? ethernet : raw;
      frame = this.#inner.decode({ ...packet, start: carried.at, captureInterface });
    }
    return frame;
  }
}

interface Carried {
  readonly tunnel: string;
  readonly at: number;
  readonly ethernet: boolean;
}

function carriedBy(frame: Frame): Carried | undefined {
  const { transport, protocol, end } = frame;
  if (transport < 0) return undefined;
  if (protocol === 4 || protocol === 41) return { tunnel: 'ipip', at: transport, ethernet: false };
  if (protocol === 47) {
    const flags = frame.u16(transport);
    const type = frame.u16(transport + 2);
    if (flags !== 0 || (type !== 0x0800 && type !== 0x86dd && type !== 0x6558)) return undefined;
    return { tunnel: 'gre', at: transport + 4, ethernet: type === 0x6558 };
  }
  if (protocol !== 17) return undefined;
  const port = frame.destinationPort;
  const payload = transport + 8;
  if (vxlanPorts.has(port)) {
    // The flag says that there is a network identifier; nothing else of the first octets may be set.
    if (frame.u8(payload) !== 0x08 || payload + 8 >= end) return undefined;
    return { tunnel: 'vxlan', at: payload + 8, ethernet: true };
  }
  if (port === genevePort) {
    const options = (frame.u8(payload) & 0x3f) * 4;
    if (frame.u8(payload) >> 6 !== 0 || frame.u16(payload + 2) !== 0x6558) return undefined;
    return { tunnel: 'geneve', at: payload + 8 + options, ethernet: true };
  }
  return undefined;
}

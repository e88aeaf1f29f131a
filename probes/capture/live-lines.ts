// SPDX-License-Identifier: Apache-2.0
/**
 * One line for each place where a packet is seen: time, number of the packet, place, and what tcpdump would print, with names of pods, Services
 * and nodes instead of addresses. Further places of the same packet are set off by the time since the first.
 */
import { PacketPrinter } from '../pcap-parser/print/packet-printer.ts';
import type { SeenPacket } from './capture.ts';

export interface LineOptions {
  readonly names: ReadonlyMap<string, string>;
  readonly linkHeader: boolean;
  readonly verbosity: number;
  readonly octets: boolean;
  /** Columns for the place. */
  readonly placeWidth: number;
}

export class LiveLines {
  readonly #options: LineOptions;
  readonly #printer: PacketPrinter;
  #text = '';

  constructor(options: LineOptions) {
    this.#options = options;
    const { linkHeader, verbosity, octets } = options;
    this.#printer = new PacketPrinter({ linkHeader, verbosity, octets, date: false, numbers: false }, (text) => {
      this.#text += text.toString();
    });
  }

  line(seen: SeenPacket): string {
    const { packet } = seen;
    this.#text = '';
    this.#printer.print(packet);
    this.#printer.flush();
    const at = this.#text.indexOf(' ');
    const time =
      seen.turn === 1
        ? this.#text.slice(0, at)
        : `+${((seen.seconds - seen.firstSeconds) * 1e6).toFixed(0)} us`.padStart(15);
    const place = (packet.captureInterface.name ?? '').padEnd(this.#options.placeWidth);
    return `${time} #${seen.number} ${place} ${withNames(this.#text.slice(at + 1), this.#options.names)}`;
  }
}

/** Replaces addresses that have a name, also where a port follows after a dot. */
export function withNames(text: string, names: ReadonlyMap<string, string>): string {
  return text.replaceAll(
    /(?<![\w.:/])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w/])/gi,
    (address) => names.get(address) ?? address,
  );
}

// SPDX-License-Identifier: Apache-2.0
/** Captures packets on a node with its own tcpdump, through the node probe. Bounded in time, packets and bytes, and cleaned up. */
import { randomBytes } from 'node:crypto';
import type { NodeProbe } from '../agent/prober.ts';

/** First bytes of each packet that are kept: headers and the start of the payload. */
const snapLengthBytes = 256;
const packetsMax = 5_000;
const secondsMax = 60;

export interface NodeCapture {
  /** Ends the capture and returns it as pcap bytes and as tcpdump's own text. */
  stop(): Promise<{ readonly pcap: Buffer; readonly text: string }>;
}

/**
 * Starts a capture on all interfaces of the node and resolves when tcpdump says that it listens.
 * @param filter in tcpdump's language; must not contain a single quote.
 */
export async function captureOnNode(probe: NodeProbe, filter: string): Promise<NodeCapture> {
  if (filter.includes("'")) throw new TypeError(`capture filter with a quote: ${filter}`);
  const file = `/tmp/plumb-${randomBytes(4).toString('hex')}`;
  const start = [
    `timeout ${secondsMax} tcpdump -Z root -i any -nn -U --immediate-mode -s ${snapLengthBytes} -c ${packetsMax} -w ${file}.pcap '${filter}' </dev/null >/dev/null 2>${file}.err &`,
    `echo $! >${file}.pid`,
    `for turn in $(seq 100); do grep -q 'listening on' ${file}.err && exit 0; sleep 0.05; done`,
    `cat ${file}.err >&2; exit 1`,
  ].join('\n');
  const started = await probe.exec(['/bin/sh', '-c', start]);
  if (started.exitCode !== 0) throw new Error(`tcpdump on ${probe.description}: ${started.stderr.trim()}`);
  return {
    stop: async () => {
      const end = [
        `pid=$(cat ${file}.pid); kill -INT $pid 2>/dev/null`,
        `for turn in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.02; done`,
        `cat ${file}.pcap`,
      ].join('\n');
      const pcap = await probe.exec(['/bin/sh', '-c', end]);
      const text = await probe.exec([
        '/bin/sh',
        '-c',
        `tcpdump -Z root -nn -tttt -r ${file}.pcap 2>/dev/null; rm -f ${file}.*`,
      ]);
      return { pcap: pcap.stdout, text: text.stdout.toString() };
    },
  };
}

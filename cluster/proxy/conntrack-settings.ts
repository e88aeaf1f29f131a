// SPDX-License-Identifier: Apache-2.0
// What kube-proxy wants of the kernel's connection tracker: room for enough connections, and that it remembers idle ones for long
// enough. Timeouts belong to the network namespace; the room is the machine's, and can be written in its first namespace only.

import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

export const conntrackFlags = {
  'conntrack-max-per-core': {
    type: 'number',
    default: 32_768,
    description: 'connections to make room for, per core; 0 leaves the limit as it is (it is never lowered)',
  },
  'conntrack-min': { type: 'number', default: 131_072, description: 'least number of connections to make room for' },
  'conntrack-tcp-timeout-established': {
    type: 'duration',
    default: '24h',
    description: 'how long an idle TCP connection is remembered; 0 leaves it as it is',
  },
  'conntrack-tcp-timeout-close-wait': {
    type: 'duration',
    default: '1h',
    description: 'how long a TCP connection that one side has closed is remembered; 0 leaves it as it is',
  },
  'conntrack-udp-timeout': {
    type: 'duration',
    default: '0s',
    description: 'how long a UDP packet without an answer is remembered; 0 leaves it as it is',
  },
  'conntrack-udp-timeout-stream': {
    type: 'duration',
    default: '0s',
    description: 'how long an idle UDP flow with answers is remembered; 0 leaves it as it is',
  },
  'conntrack-tcp-be-liberal': {
    type: 'boolean',
    default: false,
    description: 'translate TCP packets out of window, too, instead of marking them invalid',
  },
} as const;

export interface ConntrackFlags {
  readonly 'conntrack-max-per-core': number;
  readonly 'conntrack-min': number;
  /** Milliseconds, like the other ones. */
  readonly 'conntrack-tcp-timeout-established': number;
  readonly 'conntrack-tcp-timeout-close-wait': number;
  readonly 'conntrack-udp-timeout': number;
  readonly 'conntrack-udp-timeout-stream': number;
  readonly 'conntrack-tcp-be-liberal': boolean;
}

export interface Setting {
  /** File below /proc/sys/net/netfilter. */
  readonly name: string;
  readonly value: number;
  /** A greater value is as good. */
  readonly least: boolean;
}

/** The settings to be in force. Pure. */
export function conntrackSettings(flags: ConntrackFlags, cores: number): Setting[] {
  const room = flags['conntrack-max-per-core'] * cores;
  const settings: Setting[] =
    room > 0 ? [{ name: 'nf_conntrack_max', value: Math.max(room, flags['conntrack-min']), least: true }] : [];
  for (const name of [
    'tcp-timeout-established',
    'tcp-timeout-close-wait',
    'udp-timeout',
    'udp-timeout-stream',
  ] as const) {
    const seconds = Math.floor(flags[`conntrack-${name}`] / 1000);
    if (seconds > 0) settings.push({ name: `nf_conntrack_${name.replaceAll('-', '_')}`, value: seconds, least: false });
  }
  if (flags['conntrack-tcp-be-liberal']) {
    settings.push({ name: 'nf_conntrack_tcp_be_liberal', value: 1, least: false });
  }
  return settings;
}

/** Writes what is not so yet. Resolves to what could not be set, as `name=value: why`; Services work without all the same. */
export async function applyConntrackSettings(
  flags: ConntrackFlags,
  { directory = '/proc/sys/net/netfilter', cores = availableParallelism() } = {},
): Promise<string[]> {
  const failures: string[] = [];
  for (const { name, value, least } of conntrackSettings(flags, cores)) {
    const path = join(directory, name);
    try {
      const present = Number(await readFile(path, 'utf8'));
      if (least ? present < value : present !== value) await writeFile(path, `${value}\n`, { flag: 'r+' });
    } catch (error) {
      failures.push(`${name}=${value}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failures;
}

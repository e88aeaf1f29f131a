// SPDX-License-Identifier: Apache-2.0
// Runs iproute2's programs in this network namespace.

import { spawn } from 'node:child_process';

/** Standard output; errors carry the arguments and what `ip` said. */
export function runIp(args: readonly string[]): Promise<string> {
  return run('ip', args);
}

/** The same for `bridge`. */
export function runBridge(args: readonly string[]): Promise<string> {
  return run('bridge', args);
}

/** The same for `tc`. */
export function runTc(args: readonly string[]): Promise<string> {
  return run('tc', args);
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    child.on('error', (error) => reject(new Error(`${program} cannot be started: ${error.message}; install iproute2`)));
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${program} ${args.join(' ')}: ${complaint.trim()}`));
    });
  });
}

/** The link by which the node is on the network of the nodes. */
export interface Uplink {
  readonly name: string;
  readonly mtu: number;
}

/** The link that has one of `addresses`; undefined when no link of this namespace has. */
export async function linkWith(addresses: readonly string[]): Promise<Uplink | undefined> {
  // Not /sys/class/net: what is mounted there may show the links of another network namespace.
  const links: unknown = JSON.parse(await runIp(['-json', 'address', 'show']));
  if (!Array.isArray(links)) return undefined;
  const found = links.find((link: { addr_info?: { local?: unknown }[] }) =>
    link.addr_info?.some(({ local }) => typeof local === 'string' && addresses.includes(local)),
  ) as { ifname?: unknown; mtu?: unknown } | undefined;
  const { ifname, mtu } = found ?? {};
  return typeof ifname === 'string' && typeof mtu === 'number' ? { name: ifname, mtu } : undefined;
}

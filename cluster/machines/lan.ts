// SPDX-License-Identifier: Apache-2.0
// The LAN of a cluster: a network namespace of its own with one bridge, so that no firewall or bridge filter of the
// host sees the traffic between nodes, and one veth to the host, which reaches the nodes from address .1.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';

import { clearCgroups, createCgroup, hostCgroups } from './cgroups.ts';
import { run } from './command.ts';
import { firstLine } from './first-line.ts';
import { identify, type ProcessIdentity } from './processes.ts';

export interface Lan {
  /** First three numbers of the /24, such as "172.28.7". */
  readonly prefix: string;
  readonly hostLink: string;
  /** The process that keeps the namespace alive. */
  readonly holder: ProcessIdentity;
}

/** Group name of the LAN among the members of a cluster; no node can be called so. */
export const lanMember = '_lan';

/** `gateways` are the host's addresses on the LAN, with prefix length. */
export async function createLan(cluster: string, prefix: string, gateways: readonly string[]): Promise<Lan> {
  const hostLink = hostLinkName(cluster);
  const join = createCgroup(hostCgroups(), cluster, lanMember);
  const setUp = [
    'set -e',
    'for file in "$@"; do echo $$ > "$file"; done',
    `exec unshare --net sh -ec '${inNamespace.join('; ')}; echo ready; exec sleep infinity'`,
  ].join('\n');
  const child = spawn('sh', ['-c', setUp, 'plumb-lan', ...join], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
  });
  await firstLine(child, 'the namespace of the cluster LAN');
  const holder = child.pid === undefined ? undefined : identify(child.pid);
  if (holder === undefined) throw new Error('the process that keeps the cluster LAN ended as soon as it had started');
  await run(['ip', '-b', '-'], {
    input: `link add ${hostLink} type veth peer name host netns ${holder.pid}
${gateways.map((address) => `addr add ${address} dev ${hostLink}${address.includes(':') ? ' nodad' : ''}`).join('\n')}
link set ${hostLink} up
`,
  });
  await run(['nsenter', '-t', String(holder.pid), '-n', 'ip', 'link', 'set', 'host', 'master', 'br0', 'up']);
  return { prefix, hostLink, holder };
}

/** Plugs a veth between the bridge and the namespaces of `nodePid`, where it is called eth0. */
export async function plugIn(lan: Lan, port: string, nodePid: number): Promise<void> {
  await run(['nsenter', '-t', String(lan.holder.pid), '-n', 'ip', '-b', '-'], {
    input: `link add ${port} type veth peer name eth0 netns ${nodePid}\nlink set ${port} master br0 up\n`,
  });
}

/** Removes the LAN, whatever is left of it. Nodes must be gone. */
export async function removeLan(cluster: string): Promise<void> {
  await clearCgroups(cluster, lanMember);
  const hostLink = hostLinkName(cluster);
  // The namespace takes its end of the veth with it, but only after a moment and in another context.
  if (readdirSync('/sys/class/net').includes(hostLink)) {
    await run(['ip', 'link', 'del', hostLink]).catch((error: unknown) => {
      if (readdirSync('/sys/class/net').includes(hostLink)) throw error;
    });
  }
}

/** A name of at most 15 characters, the limit for links. */
export function hostLinkName(cluster: string): string {
  return `plumb-${createHash('sha256').update(cluster).digest('hex').slice(0, 8)}`;
}

/** The first /24 of 172.28-30.0.0/16 that overlaps no route of the host and that no other cluster has taken. */
export function pickPrefix(routes: readonly string[], taken: readonly string[]): string {
  for (let index = 0; index < 3 * 256; index += 1) {
    const prefix = `172.${28 + Math.floor(index / 256)}.${index % 256}`;
    if (!taken.includes(prefix) && !routes.some((route) => overlaps(`${prefix}.0/24`, route))) return prefix;
  }
  throw new Error(
    'no free /24 in 172.28.0.0-172.30.255.255: every one overlaps a route of this host; pass --lan A.B.C',
  );
}

export interface PrefixClaim {
  readonly prefix: string;
  /** To be called when the LAN is there: from then on the host's routes show that the prefix is taken. */
  release(): void;
}

/**
 * Picks a prefix so that no other bring-up on this machine picks it too before its LAN is there, whatever state directory that one has: each
 * holds an abstract socket named by the prefix. Errors: the prefix that was asked for is just being taken; no prefix is free.
 */
export async function claimPrefix(wanted: string, taken: readonly string[]): Promise<PrefixClaim> {
  const refused: string[] = [...taken];
  for (;;) {
    const prefix = wanted === '' ? pickPrefix(await hostRoutes(), refused) : wanted;
    const claim = await claimed(prefix);
    // A LAN may have come up between the look at the routes and the claim.
    const isFree = wanted !== '' || !(await hostRoutes()).some((route) => overlaps(`${prefix}.0/24`, route));
    if (claim !== undefined && isFree) return { prefix, release: claim };
    claim?.();
    if (wanted !== '') throw new Error(`another cluster is just taking ${prefix}.0/24; give another --lan`);
    refused.push(prefix);
  }
}

/** Undefined where somebody else holds it. */
async function claimed(prefix: string): Promise<(() => void) | undefined> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  server.once('listening', () => resolve(true));
  server.once('error', (error: NodeJS.ErrnoException) =>
    error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
  );
  server.listen(`\0plumb-lan-${prefix}`);
  server.unref();
  return (await promise) ? () => void server.close() : undefined;
}

/** Destinations of the host's IPv4 routes in CIDR form, the default route left out. */
export async function hostRoutes(): Promise<string[]> {
  const routes: unknown = JSON.parse(await run(['ip', '-4', '-j', 'route', 'show', 'table', 'all']));
  if (!Array.isArray(routes)) throw new Error('"ip -j route" did not print a list');
  return routes.flatMap((route: { dst?: unknown; type?: unknown }) =>
    typeof route.dst === 'string' && route.dst !== 'default'
      ? [route.dst.includes('/') ? route.dst : `${route.dst}/32`]
      : [],
  );
}

export function overlaps(left: string, right: string): boolean {
  const [a, b] = [parseCidr(left), parseCidr(right)];
  const bits = Math.min(a.bits, b.bits);
  return bits === 0 || a.address >>> (32 - bits) === b.address >>> (32 - bits);
}

function parseCidr(cidr: string): { address: number; bits: number } {
  const [address = '', bits = '32'] = cidr.split('/');
  return { address: address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0), bits: Number(bits) };
}

const inNamespace = [
  'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true',
  'ip link set lo up',
  // Without a querier, a bridge that listens for group memberships may keep neighbour solicitations from nodes.
  'ip link add br0 type bridge mcast_snooping 0',
  'ip link set br0 up',
];

// SPDX-License-Identifier: Apache-2.0
/** Each node asks the others, with small packets and with such as fill a packet of the uplink. */
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import { addressesOfNode, type NetworkObjects } from '../target/network-objects.ts';
import { intervalMs, parsePing, type PingSeen } from './node-links.ts';
import type { Site } from './visit-nodes.ts';

const targetsMost = 5;
const smallOctets = 56;
/** Of IPv4 and ICMP. */
const headerOctets = 28;

export async function pingNodes({ nodes }: NetworkObjects, sites: ReadonlyMap<string, Site>): Promise<PingSeen[]> {
  const pairs = pingPairs(
    [...sites.keys()],
    nodes.map(({ metadata }) => metadata?.name ?? ''),
  );
  const found = await Promise.all(
    pairs.map(async ([from, to]) => {
      const site = sites.get(from);
      const object = nodes.find(({ metadata }) => metadata?.name === to);
      const address = object === undefined ? undefined : addressesOfNode(object).find((one) => !one.includes(':'));
      if (site === undefined || address === undefined) return [];
      const own = nodes.find(({ metadata }) => metadata?.name === from);
      const ownAddresses = own === undefined ? [] : addressesOfNode(own);
      const uplink = site.state.links.find(({ addresses }) =>
        addresses.some((one) => ownAddresses.includes(one.address)),
      );
      const full = (uplink?.mtu ?? 1500) - headerOctets;
      const small = await ping(site.session, { from, to, address, octets: smallOctets, count: 40 });
      // After the small ones, which would queue behind them; where nothing passes nobody asks for more.
      const large =
        small?.received === 0 ? undefined : await ping(site.session, { from, to, address, octets: full, count: 8 });
      return [small, large].filter((one) => one !== undefined);
    }),
  );
  return found.flat();
}

/**
 * In a ring, so that each node is asked by some, however many there are. Those on which no probe runs are asked as well: the way to them may be why.
 */
export function pingPairs(from: readonly string[], to: readonly string[]): (readonly [string, string])[] {
  return from.flatMap((source) => {
    const start = to.indexOf(source) + 1;
    return [...to.slice(start), ...to.slice(0, start)]
      .filter((target) => target !== source)
      .slice(0, targetsMost)
      .map((target) => [source, target] as const);
  });
}

async function ping(
  session: NodeSession,
  { from, to, address, octets, count }: { from: string; to: string; address: string; octets: number; count: number },
): Promise<PingSeen | undefined> {
  const words = `-A -i ${intervalMs / 1000} -c ${count} -W 1 -w 2 -s ${octets} ${address}`.split(' ');
  try {
    const { stdout } = await session.run(['/bin/busybox', 'ping', ...words], { timeoutMs: 8_000 });
    const seen = parsePing(stdout);
    return seen === undefined ? undefined : { from, to, octets, ...seen };
  } catch {
    return undefined;
  }
}

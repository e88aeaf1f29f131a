// SPDX-License-Identifier: Apache-2.0
// Makes this node answer on the LAN for the load balancer addresses that fall to it, by the kernel's proxy entries for
// ARP and neighbour discovery. The addresses are not the node's own: kube-proxy translates what comes for them.

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

import { Informer } from '../machinery/informer.ts';
import { resources } from '../machinery/resources.ts';
import { containsAddress, familyOf, parsePrefix } from './addresses.ts';
import { runIp } from './ip-command.ts';
import { planAnnouncements } from './load-balancer-plan.ts';
import { SyncLoop } from './nft/sync-loop.ts';
import type { EndpointSlice, Node, Service } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';

export interface LoadBalancerAgentOptions {
  readonly client: Client;
  readonly nodeName: string;
  readonly nodes: Informer<Node>;
  readonly onChange: (verb: 'announcing' | 'withdrawing', address: string) => void;
  readonly onError: (error: unknown) => void;
}

/** Marks entries and routes as ours (see `rt_protos` of iproute2: free for private use). */
const protocol = '145';
const serviceNameLabel = 'kubernetes.io/service-name';
/** What others did to the entries is undone after this time. */
const recheckMs = 30_000;
/** Duplicate address detection, after which the kernel tells neighbours of a new address, takes a second. */
const detectionMs = 2_000;

const runProgram = promisify(execFile);

interface Link {
  readonly name: string;
  readonly prefixes: readonly string[];
}

export class LoadBalancerAgent {
  readonly #options: LoadBalancerAgentOptions;
  readonly #services: Informer<Service>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #loop: SyncLoop;

  constructor(options: LoadBalancerAgentOptions) {
    this.#options = options;
    const { client, nodes, onError } = options;
    this.#services = new Informer<Service>(client, resources.services);
    this.#slices = new Informer<EndpointSlice>(client, resources.endpointSlices, {
      indexers: {
        service: ({ metadata }) => [`${metadata.namespace}/${metadata.labels?.[serviceNameLabel] ?? ''}`],
      },
      transform: leanSlice,
    });
    this.#loop = new SyncLoop({ settleMs: 5, retryMs: 1000, onError, run: () => this.#sync() });
    const request = (): void => {
      if (this.#services.synced && this.#slices.synced) this.#loop.request();
    };
    this.#services.onChange(({ object, old }) => {
      if (object.spec?.type === 'LoadBalancer' || old?.spec?.type === 'LoadBalancer') request();
    });
    this.#slices.onChange(({ object }) => {
      const [namespace, name] = [object.metadata.namespace ?? '', object.metadata.labels?.[serviceNameLabel] ?? ''];
      if (this.#services.get(name, namespace)?.spec?.type === 'LoadBalancer') request();
    });
    nodes.onChange(request);
  }

  async start(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#services.start(signal), this.#slices.start(signal)]);
    this.#loop.request();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #sync(): Promise<number> {
    const { nodes, nodeName, onChange, onError } = this.#options;
    const announcers = planAnnouncements({
      services: this.#services.list(),
      nodes: nodes.list(),
      slices: (key) => this.#slices.byIndex('service', key),
    });
    const self = nodes.get(nodeName);
    const own = (self?.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
    const link = await lanLink(own.map(({ address }) => address));
    if (link === undefined) return recheckMs;
    const onLan = (address: string): boolean =>
      link.prefixes.some((prefix) => containsAddress(parsePrefix(prefix), address));
    const wanted = new Set([...announcers].flatMap(([ip, node]) => (node === nodeName && onLan(ip) ? [ip] : [])));
    const present = await announced(link.name);
    for (const address of present) {
      if (wanted.has(address)) continue;
      await withdraw(address, link.name);
      onChange('withdrawing', address);
    }
    const fresh = [...wanted].filter((address) => !present.has(address));
    for (const address of fresh) {
      await announce(address, link);
      onChange('announcing', address);
    }
    // Neighbours may still know the node that had the address before.
    if (fresh.length > 0) await tellNeighbours(fresh, link.name).catch(onError);
    return recheckMs;
  }
}

async function announce(address: string, { name: link, prefixes }: Link): Promise<void> {
  const version = familyOf(address);
  // The kernel would wait a random time before it answers for others.
  await writeFile(`/proc/sys/net/ipv${version}/neigh/${link}/proxy_delay`, '0\n');
  if (version === 4) {
    // It answers only for addresses that it would route to another link than the one that the question came from.
    const own = prefixes.map((prefix) => prefix.slice(0, prefix.indexOf('/'))).find((ip) => familyOf(ip) === 4);
    const source = own === undefined ? [] : ['src', own];
    await runIp(['route', 'replace', `${address}/32`, 'dev', 'lo', ...source, 'protocol', protocol]);
  } else {
    await writeFile(`/proc/sys/net/ipv6/conf/${link}/proxy_ndp`, '1\n');
  }
  await runIp([`-${version}`, 'neighbour', 'replace', 'proxy', address, 'dev', link, 'protocol', protocol]);
}

async function withdraw(address: string, link: string): Promise<void> {
  await runIp([`-${familyOf(address)}`, 'neighbour', 'del', 'proxy', address, 'dev', link]);
  if (familyOf(address) === 4) {
    await runIp(['route', 'del', `${address}/32`, 'dev', 'lo', 'protocol', protocol]).catch(() => undefined);
  }
}

/** Addresses for which this node has entries of ours. */
async function announced(link: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (const version of ['-4', '-6']) {
    const text = await runIp([version, 'neighbour', 'show', 'proxy', 'dev', link]);
    for (const line of text.split('\n')) {
      const [address = ''] = line.split(' ');
      if (familyOf(address) !== undefined && line.includes(`proto ${protocol}`)) found.add(address);
    }
  }
  return found;
}

async function lanLink(addresses: readonly string[]): Promise<Link | undefined> {
  const links: unknown = JSON.parse(await runIp(['-json', 'address', 'show']));
  if (!Array.isArray(links)) return undefined;
  for (const link of links as { ifname?: string; addr_info?: { local?: string; prefixlen?: number }[] }[]) {
    const infos = link.addr_info ?? [];
    if (link.ifname === undefined || !infos.some(({ local }) => addresses.includes(local ?? ''))) continue;
    return { name: link.ifname, prefixes: infos.map(({ local, prefixlen }) => `${local}/${prefixlen}`) };
  }
  return undefined;
}

/** Unasked answers for all at once, so that nobody sends to the former announcer until it forgets. Best effort. */
async function tellNeighbours(addresses: readonly string[], link: string): Promise<void> {
  const told = await Promise.allSettled([
    tellByArp(
      addresses.filter((address) => familyOf(address) === 4),
      link,
    ),
    ...addresses.filter((address) => familyOf(address) === 6).map((address) => tellByDiscovery(address, link)),
  ]);
  const failed = told.find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

async function tellByArp(addresses: readonly string[], link: string): Promise<void> {
  const nonLocal = '/proc/sys/net/ipv4/ip_nonlocal_bind';
  const before = await readFile(nonLocal, 'utf8');
  try {
    // The tool binds to the address that it tells of, which is none of the node's.
    await writeFile(nonLocal, '1\n');
    await Promise.all(
      addresses.map((address) =>
        runProgram('busybox', ['arping', '-U', '-c', '2', '-w', '2', '-I', link, '-s', address, address]),
      ),
    );
  } finally {
    await writeFile(nonLocal, before);
  }
}

/** The kernel tells of an address that it takes for its own once nobody has objected. */
async function tellByDiscovery(address: string, link: string): Promise<void> {
  await writeFile(`/proc/sys/net/ipv6/conf/${link}/ndisc_notify`, '1\n');
  await runIp(['-6', 'address', 'add', `${address}/128`, 'dev', link]);
  await new Promise((resolve) => setTimeout(resolve, detectionMs));
  await runIp(['-6', 'address', 'del', `${address}/128`, 'dev', link]);
}

/** What announcing depends on. */
function leanSlice({ metadata, addressType, endpoints }: EndpointSlice): EndpointSlice {
  const { name, namespace, labels, resourceVersion, uid } = metadata;
  return {
    metadata: {
      ...(name && { name }),
      ...(namespace && { namespace }),
      ...(labels && { labels }),
      ...(resourceVersion && { resourceVersion }),
      ...(uid && { uid }),
    },
    addressType,
    endpoints: (endpoints ?? []).map(({ conditions, nodeName }) => ({
      addresses: [],
      ...(conditions && { conditions }),
      ...(nodeName && { nodeName }),
    })),
  };
}

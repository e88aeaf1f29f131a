// SPDX-License-Identifier: Apache-2.0
// The overlay of `--network vxlan`: one vxlan link per node over which all pods of other nodes are reached. The link learns
// nothing from traffic. Each node publishes the link's MAC in an annotation; every other node keeps for it, permanently, a
// neighbour entry (the first address of its block has that MAC) and a forwarding entry (that MAC is behind its node
// address). The kernel keeps all of it when the agent ends. VNI and port are flannel's.

import { createHash } from 'node:crypto';

import { familyOf, formatAddress, hostOf, parsePrefix } from './addresses.ts';
import { runBridge, runIp } from './ip-command.ts';
import { internalAddresses, podCIDRsOf } from './node-addresses.ts';
import type { IpFamily } from './addresses.ts';
import type { Uplink } from './ip-command.ts';
import type { Node } from '../machinery/api-types.ts';

export const overlayLink = 'plumb.1';
export const macAnnotation = 'network.plumbline.local/vtep-mac';
const vni = 1;
const port = 8472;

/** What encapsulation costs of the uplink's MTU: outer IP, UDP, VXLAN and inner Ethernet headers. */
export function overlayMtu(uplinkMtu: number, outerFamily: IpFamily): number {
  return uplinkMtu - (outerFamily === 4 ? 50 : 70);
}

/** The same for a node however often the link is made, so that others need not learn a new one. Locally administered. */
export function overlayMac(nodeName: string): string {
  const bytes = [...createHash('sha256').update(nodeName).digest().subarray(0, 5)];
  return ['0a', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** The address for which a node's end of the overlay answers: the first of its block, which no pod gets. */
export function overlayAddress(node: Node, family: IpFamily): string | undefined {
  const block = podCIDRsOf(node).find((cidr) => parsePrefix(cidr).family === family);
  return block === undefined ? undefined : formatAddress(parsePrefix(block).first, family);
}

/** Both tables of the overlay link, as sorted lines `KEY MAC` that can be compared with the kernel's. */
export interface OverlayEntries {
  /** `ADDRESS MAC` */
  readonly neighbours: readonly string[];
  /** `MAC NODE-ADDRESS` */
  readonly forwarding: readonly string[];
}

/** Nodes that have not published a MAC, or have no address in the family of the outer packets, are left out. */
export function overlayEntries(nodes: readonly Node[], self: Node): OverlayEntries {
  const [outer = ''] = internalAddresses(self);
  const neighbours: string[] = [];
  const forwarding: string[] = [];
  for (const node of nodes) {
    const mac = node.metadata.annotations?.[macAnnotation];
    const address = internalAddresses(node).find((candidate) => familyOf(candidate) === familyOf(outer));
    if (node.metadata.name === self.metadata.name || mac === undefined || address === undefined) continue;
    forwarding.push(`${mac} ${address}`);
    for (const family of [4, 6] as const) {
      const inner = overlayAddress(node, family);
      if (inner !== undefined) neighbours.push(`${inner} ${mac}`);
    }
  }
  return { neighbours: neighbours.toSorted(), forwarding: forwarding.toSorted() };
}

/** What turns `present` lines into `desired` ones. A neighbour's new MAC replaces the old one without a gap. */
export function entryChanges(
  present: readonly string[],
  desired: readonly string[],
): { readonly set: readonly string[]; readonly remove: readonly string[] } {
  const keys = new Set(desired.map(keyOf));
  return {
    set: desired.filter((line) => !present.includes(line)),
    remove: present.filter((line) => !keys.has(keyOf(line))),
  };
}

const keyOf = (line: string): string => line.split(' ')[0] ?? '';

/** Brings link, addresses and entries to what `nodes` ask for; resolves with what was changed, for the log. */
export async function reconcileOverlay(nodes: readonly Node[], self: Node, uplink: Uplink): Promise<string[]> {
  const done = await ensureLink(self, uplink);
  const desired = overlayEntries(nodes, self);
  const present = await presentEntries();
  const forwarding = entryChanges(present.forwarding, desired.forwarding);
  const neighbours = entryChanges(present.neighbours, desired.neighbours);
  for (const line of neighbours.remove) {
    await runIp([...family(line), 'neigh', 'del', keyOf(line), 'dev', overlayLink]);
    done.push(`neighbour ${line} removed`);
  }
  for (const line of forwarding.remove) {
    await runBridge(['fdb', 'del', keyOf(line), 'dev', overlayLink, 'self']);
    done.push(`forwarding ${line} removed`);
  }
  for (const line of forwarding.set) {
    const [mac = '', address = ''] = line.split(' ');
    await runBridge(['fdb', 'replace', mac, 'dev', overlayLink, 'dst', address, 'self', 'permanent']);
    done.push(`forwarding ${line}`);
  }
  for (const line of neighbours.set) {
    const [address = '', mac = ''] = line.split(' ');
    const entry = [address, 'lladdr', mac, 'dev', overlayLink, 'nud', 'permanent'];
    await runIp([...family(line), 'neigh', 'replace', ...entry]);
    done.push(`neighbour ${line}`);
  }
  return done;
}

function family(line: string): string[] {
  return familyOf(keyOf(line)) === 6 ? ['-6'] : ['-4'];
}

async function ensureLink(self: Node, uplink: Uplink): Promise<string[]> {
  const done: string[] = [];
  const [outer = ''] = internalAddresses(self);
  const outerFamily = familyOf(outer) ?? 4;
  const mac = overlayMac(self.metadata.name ?? '');
  const mtu = overlayMtu(uplink.mtu, outerFamily);
  const wanted = { id: vni, port, local: outer, link: uplink.name, mac, learning: false };
  const present = await presentLink();
  if (present !== undefined && !sameLink(present, wanted)) {
    await runIp(['link', 'del', overlayLink]);
    done.push('a link with other properties removed');
  }
  if (present === undefined || done.length > 0) {
    const kind = ['type', 'vxlan', 'id', String(vni), 'dev', uplink.name, 'local', outer, 'dstport', String(port)];
    await runIp(['link', 'add', overlayLink, 'address', mac, 'mtu', String(mtu), ...kind, 'nolearning']);
    done.push(`link to ${hostOf(outer)}, MTU ${mtu}`);
  } else if (present.mtu !== mtu) {
    await runIp(['link', 'set', overlayLink, 'mtu', String(mtu)]);
    done.push(`MTU ${mtu}`);
  }
  if (present?.up !== true || done.length > 0) {
    await runIp(['link', 'set', overlayLink, 'addrgenmode', 'none']);
    await runIp(['link', 'set', overlayLink, 'up']);
  }
  const addresses = ([4, 6] as const).flatMap((one) => {
    const address = overlayAddress(self, one);
    return address === undefined ? [] : [`${address}/${one === 4 ? 32 : 128}`];
  });
  const has = await presentAddresses();
  for (const address of addresses.filter((one) => !has.includes(one))) {
    await runIp(['address', 'replace', address, 'dev', overlayLink, ...(address.includes(':') ? ['nodad'] : [])]);
  }
  for (const address of has.filter((one) => !addresses.includes(one))) {
    await runIp(['address', 'del', address, 'dev', overlayLink]);
  }
  return done;
}

interface LinkProperties {
  readonly id: unknown;
  readonly port: unknown;
  readonly local: unknown;
  readonly link: unknown;
  readonly mac: unknown;
  readonly learning: unknown;
}

function sameLink(present: LinkProperties, wanted: LinkProperties): boolean {
  return (['id', 'port', 'local', 'link', 'mac', 'learning'] as const).every((key) => present[key] === wanted[key]);
}

async function presentLink(): Promise<(LinkProperties & { readonly mtu: unknown; readonly up: boolean }) | undefined> {
  // The list of all links, since asking for one that is not there is an error like any other.
  const links = rows(await runIp(['-json', '-details', 'link', 'show']));
  const link = links.find(({ ifname }) => ifname === overlayLink);
  if (link === undefined) return undefined;
  const { info_data: data = {} } = (link['linkinfo'] ?? {}) as { info_data?: Record<string, unknown> };
  return {
    id: data['id'],
    port: data['port'],
    local: data['local'] ?? data['local6'],
    link: data['link'],
    mac: link['address'],
    learning: data['learning'],
    mtu: link['mtu'],
    up: Array.isArray(link['flags']) && link['flags'].includes('UP'),
  };
}

async function presentAddresses(): Promise<string[]> {
  const [link] = rows(await runIp(['-json', 'address', 'show', 'dev', overlayLink]));
  const addresses = (link?.['addr_info'] ?? []) as { local?: unknown; prefixlen?: unknown; scope?: unknown }[];
  return addresses.filter(({ scope }) => scope !== 'link').map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

async function presentEntries(): Promise<OverlayEntries> {
  const neighbours: string[] = [];
  for (const option of ['-4', '-6']) {
    const shown = rows(await runIp([option, '-json', 'neigh', 'show', 'dev', overlayLink, 'nud', 'permanent']));
    neighbours.push(...shown.map(({ dst, lladdr }) => `${dst} ${lladdr}`));
  }
  const entries = rows(await runBridge(['-json', 'fdb', 'show', 'dev', overlayLink]));
  return { neighbours, forwarding: entries.map(({ mac, dst }) => `${mac} ${dst}`) };
}

function rows(json: string): Record<string, unknown>[] {
  const value: unknown = JSON.parse(json === '' ? '[]' : json);
  return Array.isArray(value) ? (value as Record<string, unknown>[]) : [];
}

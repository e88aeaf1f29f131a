// SPDX-License-Identifier: Apache-2.0
// Addresses of nodes and the blocks from which their pods have theirs. A node has those of its spec, which the API lets nobody change, and may have more of IPv4:
// its agent asks for them by an annotation when addresses run out, and the controller-manager, which alone deals out
// blocks, grants them by another. Pure but for counting addresses in use.

import { readdir } from 'node:fs/promises';

import { familyOf, parsePrefix } from './addresses.ts';
import type { Node } from '../machinery/api-types.ts';

/** Blocks besides those of the spec, separated by commas. Written by the controller-manager. */
export const grantedBlocksAnnotation = 'network.plumbline.local/pod-blocks';
/** How many the node wants there. Written by its agent. */
export const wantedBlocksAnnotation = 'network.plumbline.local/pod-blocks-wanted';

export function internalAddresses(node: Node): string[] {
  return (node.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}

/** All blocks of the node; those of the spec come first. */
export function podCIDRsOf(node: Node): readonly string[] {
  const { podCIDRs, podCIDR } = node.spec ?? {};
  const own = podCIDRs !== undefined && podCIDRs.length > 0 ? podCIDRs : [podCIDR ?? ''];
  return [...own, ...grantedBlocks(node)].filter((cidr) => cidr !== '');
}

export function grantedBlocks(node: Node): readonly string[] {
  return (node.metadata.annotations?.[grantedBlocksAnnotation] ?? '').split(',').filter((cidr) => cidr !== '');
}

/** Free addresses at which the next block is asked for: as many pods as may come while it is on its way. */
const reserve = 24;

/**
 * How many blocks beyond the spec's the node should ask for: one more than it has when few addresses are left. It never asks
 * for fewer, since pods may have addresses of any block.
 */
export function wantedBlocks(node: Node, addressesInUse: number): number {
  const granted = grantedBlocks(node).length;
  const blocks = podCIDRsOf(node)
    .map(parsePrefix)
    .filter(({ family }) => family === 4);
  // host-local leaves out a block's first, second (the gateway) and last address.
  const room = blocks.reduce((sum, { length }) => sum + Math.max(0, 2 ** (32 - length) - 3), 0);
  return blocks.length > 0 && room - addressesInUse < reserve ? granted + 1 : granted;
}

/** IPv4 addresses that `host-local` has handed out on this node, by the files that it keeps of them. */
export async function addressesInUse(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => familyOf(name) === 4).length;
}

// SPDX-License-Identifier: Apache-2.0
// Gives each node its block of pod addresses (`spec.podCIDR`) from the cluster's range, and more when the node's agent asks
// for them; never one block to two nodes.
import type { Node } from '../../machinery/api-types.ts';
import { isConflict, isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { parsePrefix } from '../../network/addresses.ts';
import {
  grantedBlocks,
  grantedBlocksAnnotation,
  podCIDRsOf,
  wantedBlocksAnnotation,
} from '../../network/node-addresses.ts';
import { BlockPool } from './cidrs.ts';

export const nodeIpamController: Controller = {
  name: 'node-ipam-controller',
  serviceAccount: 'node-controller',
  setup,
};

function setup({ client, informers, settings, recorder }: ControllerContext): Running {
  if (settings.clusterCidrs.length === 0) return {};
  const nodes = informers.get<Node>(resources.nodes);
  const events = recorder('cidrAllocator');
  const pools = settings.clusterCidrs.map((text) => {
    const range = parsePrefix(text);
    return new BlockPool(range, settings.nodeCidrMaskSizes[range.family]);
  });
  // Blocks are taken and given one node after the other.
  const queue = new WorkQueue({ name: 'node-ipam-controller', reconcile, concurrency: 1 });
  const each = (node: Node, act: (pool: BlockPool, cidr: string) => void): void => {
    for (const cidr of podCIDRsOf(node)) for (const pool of pools) act(pool, cidr);
  };
  nodes.onChange(({ type, object }) => {
    if (type === 'deleted') each(object, (pool, cidr) => pool.release(cidr));
    else each(object, (pool, cidr) => pool.occupy(cidr));
    queue.add(object.metadata.name ?? '');
  });

  async function reconcile(name: string): Promise<void> {
    const node = nodes.get(name);
    if (!node || node.metadata.deletionTimestamp) return;
    if ((node.spec?.podCIDRs ?? []).length > 0) return grantMore(node, name);
    const taken = pools.map((pool) => pool.take());
    const podCIDRs = taken.filter((cidr) => cidr !== undefined);
    const giveBack = (): void => podCIDRs.forEach((cidr) => pools.forEach((pool) => pool.release(cidr)));
    if (podCIDRs.length < pools.length) {
      giveBack();
      events.event(node, 'Normal', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
      throw new Error(`no free pod CIDR for node ${name} in ${settings.clusterCidrs.join(',')}`);
    }
    try {
      await client.patch(resources.nodes, name, {
        type: 'merge',
        body: { metadata: { uid: node.metadata.uid }, spec: { podCIDR: podCIDRs[0], podCIDRs } },
      });
    } catch (error) {
      giveBack();
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  /** Another IPv4 block for a node whose pods have used up the addresses of those that it has. */
  async function grantMore(node: Node, name: string): Promise<void> {
    const granted = grantedBlocks(node);
    const wanted = Number(node.metadata.annotations?.[wantedBlocksAnnotation] ?? 0);
    const pool = pools[settings.clusterCidrs.findIndex((text) => parsePrefix(text).family === 4)];
    if (pool === undefined || !(wanted > granted.length)) return;
    const block = pool.take();
    if (block === undefined) {
      events.event(node, 'Normal', 'CIDRNotAvailable', `Node ${name} asked for another block of pod addresses`);
      throw new Error(`no free pod CIDR for node ${name} in ${settings.clusterCidrs.join(',')}`);
    }
    try {
      const annotations = { [grantedBlocksAnnotation]: [...granted, block].join(',') };
      await client.patch(resources.nodes, name, {
        type: 'merge',
        body: { metadata: { uid: node.metadata.uid, annotations } },
      });
    } catch (error) {
      pool.release(block);
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  return { queues: [queue] };
}

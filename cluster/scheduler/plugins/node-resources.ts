// SPDX-License-Identifier: Apache-2.0
// Room on a node: the fit filter, and two scores (least allocated, balanced allocation) over CPU and memory.
import { filterPlugin, SCORE_MAX, scorePlugin } from '../framework.ts';
import type { NodeInfo, PodInfo } from '../framework.ts';

export const nodeResourcesFit = filterPlugin<readonly (readonly [string, number])[]>({
  name: 'NodeResourcesFit',
  events: ['node-added', 'node-allocatable', 'pod-deleted'],
  preFilter: (pod) => ({ state: Object.entries(pod.requests).filter(([, wanted]) => wanted > 0) }),
  filter: (requests, _pod, node) => {
    const reasons: string[] = [];
    let permanent = false;
    if (node.pods.length + 1 > (node.allocatable['pods'] ?? 0)) reasons.push('Too many pods');
    for (const [name, wanted] of requests) {
      const allocatable = node.allocatable[name] ?? 0;
      if (wanted > allocatable - (node.requested[name] ?? 0)) reasons.push(`Insufficient ${name}`);
      // What exceeds the whole node is not cured by removing pods.
      if (wanted > allocatable) permanent = true;
    }
    return reasons.length === 0 ? undefined : { permanent, reasons };
  },
});

export const leastAllocated = scorePlugin<true>({
  name: 'NodeResourcesFit',
  weight: 1,
  preScore: () => true,
  score: (_state, pod, node) => {
    const [cpu, memory] = usedFractions(pod, node);
    return Math.floor((freeScore(cpu) + freeScore(memory)) / 2);
  },
});

export const balancedAllocation = scorePlugin<true>({
  name: 'NodeResourcesBalancedAllocation',
  weight: 1,
  // A pod that asks for nothing cannot unbalance a node.
  preScore: (pod) => ((pod.requests['cpu'] ?? 0) + (pod.requests['memory'] ?? 0) > 0 ? true : undefined),
  score: (_state, pod, node) => {
    const allocatable = (name: string) => Math.max(1, node.allocatable[name] ?? 0);
    const fraction = (name: string, withPod: boolean) =>
      Math.min(1, ((node.requested[name] ?? 0) + (withPod ? (pod.requests[name] ?? 0) : 0)) / allocatable(name));
    const deviation = (withPod: boolean) => Math.abs(fraction('cpu', withPod) - fraction('memory', withPod)) / 2;
    return Math.floor((1 - deviation(true)) * SCORE_MAX);
  },
});

export const imageLocality = scorePlugin<ReadonlyMap<string, number>>({
  name: 'ImageLocality',
  weight: 1,
  preScore: ({ pod }, nodes) => {
    // Spread factor: an image that only one node has must not draw all pods there.
    const factors = new Map<string, number>();
    for (const container of pod.spec?.containers ?? []) {
      const image = normalizedImage(container.image ?? '');
      const having = nodes.filter((node) => node.images.has(image)).length;
      if (having > 0) factors.set(image, having / nodes.length);
    }
    return factors.size === 0 ? undefined : factors;
  },
  score: (factors, { pod }, node) => {
    const megabyte = 1024 * 1024;
    const min = 23 * megabyte;
    const max = 1000 * megabyte * (pod.spec?.containers.length ?? 1);
    let sum = 0;
    for (const [image, factor] of factors) sum += (node.images.get(image) ?? 0) * factor;
    return Math.floor((SCORE_MAX * (Math.min(Math.max(sum, min), max) - min)) / (max - min));
  },
});

function usedFractions(pod: PodInfo, node: NodeInfo): [number, number] {
  const cpu = (node.nonZeroRequested.cpu + pod.nonZero.cpu) / Math.max(1, node.allocatable['cpu'] ?? 0);
  const memory = (node.nonZeroRequested.memory + pod.nonZero.memory) / Math.max(1, node.allocatable['memory'] ?? 0);
  return [cpu, memory];
}

function freeScore(usedFraction: number): number {
  return usedFraction > 1 ? 0 : Math.floor((1 - usedFraction) * SCORE_MAX);
}

/** Adds the tag `latest` where neither tag nor digest is given, as nodes report it. */
function normalizedImage(image: string): string {
  return image.lastIndexOf(':') <= image.lastIndexOf('/') && !image.includes('@') ? `${image}:latest` : image;
}

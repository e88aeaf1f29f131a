// SPDX-License-Identifier: Apache-2.0
// Which limit of local storage a pod breaks, if any. Pure. A pod that breaks one is evicted.
import type { Pod } from '../../machinery/api-types.ts';
import { containerAmounts, podAmounts } from '../../machinery/pod-resources.ts';
import { format, toBytes } from '../../machinery/quantities.ts';
import { specOf } from '../pods/pod-facts.ts';

/** Bytes on disk: writable layers and logs by container name, emptyDir volumes by volume name. */
export interface StorageUsage {
  readonly layers: ReadonlyMap<string, number>;
  readonly logs: ReadonlyMap<string, number>;
  readonly volumes: ReadonlyMap<string, number>;
}

const resource = 'ephemeral-storage';

/** False for pods that need no measuring. */
export function hasStorageLimit(pod: Pod): boolean {
  return podAmounts(pod, 'limits')[resource] !== undefined || limitedVolumes(pod).length > 0;
}

/** What the pod's status says about the limit that it breaks: of a volume, of the pod as a whole, of a container, in this order. */
export function brokenStorageLimit(pod: Pod, usage: StorageUsage): string | undefined {
  const volume = limitedVolumes(pod).find(({ name, bytes }) => (usage.volumes.get(name) ?? 0) > bytes);
  if (volume !== undefined) return `Usage of EmptyDir volume "${volume.name}" exceeds the limit "${volume.limit}". `;
  const whole = podAmounts(pod, 'limits')[resource];
  if (whole !== undefined && podUsage(pod, usage) > whole)
    return `Pod ephemeral local storage usage exceeds the total limit of containers ${text(whole)}. `;
  for (const container of specOf(pod).containers) {
    const limit = containerAmounts(container, 'limits')[resource] ?? 0;
    const used = (usage.layers.get(container.name) ?? 0) + (usage.logs.get(container.name) ?? 0);
    if (limit > 0 && used > limit)
      return `Container ${container.name} exceeded its local ephemeral storage limit "${text(limit)}". `;
  }
  return undefined;
}

function limitedVolumes(pod: Pod): { name: string; limit: string; bytes: number }[] {
  return (specOf(pod).volumes ?? []).flatMap(({ name, emptyDir }) => {
    const limit = emptyDir?.sizeLimit;
    const bytes = toBytes(limit);
    return limit === undefined || bytes <= 0 ? [] : [{ name, limit, bytes }];
  });
}

/** Volumes in memory count as memory. */
function podUsage(pod: Pod, { layers, logs, volumes }: StorageUsage): number {
  const onDisk = (specOf(pod).volumes ?? [])
    .filter(({ emptyDir }) => emptyDir !== undefined && emptyDir.medium !== 'Memory')
    .map(({ name }) => volumes.get(name) ?? 0);
  return [...layers.values(), ...logs.values(), ...onDisk].reduce((sum, bytes) => sum + bytes, 0);
}

const text = (bytes: number): string => format(BigInt(bytes) * 1_000_000_000n, 'BinarySI');

// SPDX-License-Identifier: Apache-2.0
// The quality-of-service class of a pod, from the requests and limits of its containers.
import type { PodQOSClass, PodSpec, ResourceRequirements } from '../../../machinery/api-types.ts';
import { parseQuantity } from '../../../machinery/quantities.ts';

const counted = ['cpu', 'memory'] as const;

export function qosClass(spec: PodSpec): PodQOSClass {
  const podLevel = spec.resources;
  const all: (ResourceRequirements | undefined)[] =
    podLevel?.requests !== undefined || podLevel?.limits !== undefined
      ? [podLevel]
      : [...spec.containers, ...(spec.initContainers ?? [])].map((container) => container.resources);
  let guaranteed = true;
  let any = false;
  for (const resources of all) {
    for (const name of counted) {
      const request = amount(resources?.requests?.[name]);
      const limit = amount(resources?.limits?.[name]);
      any ||= request > 0n || limit > 0n;
      guaranteed &&= limit > 0n && (request === 0n || request === limit);
    }
  }
  if (!any) {
    return 'BestEffort';
  }
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

function amount(quantity: string | undefined): bigint {
  if (quantity === undefined) {
    return 0n;
  }
  try {
    return parseQuantity(quantity);
  } catch {
    // Text that is no quantity is told by validation; here it counts for nothing.
    return 0n;
  }
}

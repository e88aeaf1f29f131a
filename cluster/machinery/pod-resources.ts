// SPDX-License-Identifier: Apache-2.0
// What a pod asks for: the effective requests of its containers, sidecars, init containers and overhead, by the rules of
// "Resource sharing within containers" and KEP-753 (sidecars). Shared by the scheduler, the kubelet and quota.
import type { Container, Pod, PodSpec, ResourceRequirements } from './api-types.ts';
import { toBytes, toMilli } from './quantities.ts';

/** Resource name to amount: `cpu` in thousandths of a core, everything else in whole units (bytes, devices). */
export type Amounts = Record<string, number>;

/** Effective requests (or limits) of a pod. Pod-level resources win over the sum of the containers'. */
export function podAmounts(pod: Pod, kind: 'requests' | 'limits' = 'requests'): Amounts {
  const spec = pod.spec;
  if (spec === undefined) return {};
  const total = containersAmounts(spec, kind);
  const podLevel = amountsOf(spec.resources, kind);
  for (const [name, amount] of Object.entries(podLevel)) total[name] = amount;
  add(total, toAmounts(spec.overhead ?? {}));
  return total;
}

/** Requests (or limits) of one container. */
export function containerAmounts(container: Pick<Container, 'resources'>, kind: 'requests' | 'limits'): Amounts {
  return amountsOf(container.resources, kind);
}

function containersAmounts(spec: PodSpec, kind: 'requests' | 'limits'): Amounts {
  const running: Amounts = {};
  for (const container of spec.containers) add(running, amountsOf(container.resources, kind));
  // Sidecars run beside everything that starts after them; other init containers run alone beside earlier sidecars.
  const sidecars: Amounts = {};
  const peak: Amounts = {};
  for (const container of spec.initContainers ?? []) {
    const own = amountsOf(container.resources, kind);
    if (container.restartPolicy === 'Always') {
      add(sidecars, own);
      add(running, own);
      raise(peak, sidecars);
    } else {
      const during = { ...sidecars };
      add(during, own);
      raise(peak, during);
    }
  }
  raise(running, peak);
  return running;
}

function amountsOf(resources: ResourceRequirements | undefined, kind: 'requests' | 'limits'): Amounts {
  return toAmounts(resources?.[kind] ?? {});
}

/** A ResourceList as amounts. */
export function toAmounts(list: Readonly<Record<string, string>>): Amounts {
  const amounts: Amounts = {};
  for (const [name, quantity] of Object.entries(list)) {
    amounts[name] = name === 'cpu' ? toMilli(quantity) : toBytes(quantity);
  }
  return amounts;
}

function add(into: Amounts, other: Amounts): void {
  for (const [name, amount] of Object.entries(other)) into[name] = (into[name] ?? 0) + amount;
}

function raise(into: Amounts, other: Amounts): void {
  for (const [name, amount] of Object.entries(other)) into[name] = Math.max(into[name] ?? 0, amount);
}

// SPDX-License-Identifier: Apache-2.0
// Small plugins around scheduling: DefaultTolerationSeconds, TaintNodesByCondition, RuntimeClass.
import type { Node, Pod, RuntimeClass, Toleration } from '../../machinery/api-types.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';
import { same } from '../resources/validation/fields.ts';
import { createdPod, isFor, refusal } from './attributes.ts';

const tolerationSeconds = 300;
const troubles = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];

/** Pods stay five minutes on a node that has gone. */
export const defaultTolerationSeconds: AdmissionPlugin = {
  name: 'DefaultTolerationSeconds',
  mutate(attributes) {
    // Who replaces the tolerations of a pod need not know of these.
    const isUpdate = attributes.operation === 'UPDATE' && isFor(attributes, 'pods');
    const pod = isUpdate ? (attributes.object as unknown as Pod | undefined) : createdPod(attributes);
    if (pod?.spec === undefined) {
      return;
    }
    const given = pod.spec.tolerations ?? [];
    const missing = troubles.filter((key) => !given.some((toleration) => coversExecution(toleration, key)));
    if (missing.length > 0) {
      pod.spec.tolerations = [
        ...given,
        ...missing.map((key): Toleration => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds })),
      ];
    }
  },
};

/** A new node takes no pods until it has been seen ready. */
export const taintNodesByCondition: AdmissionPlugin = {
  name: 'TaintNodesByCondition',
  mutate(attributes) {
    if (attributes.operation !== 'CREATE' || !isFor(attributes, 'nodes')) {
      return;
    }
    const node = attributes.object as unknown as Node;
    node.spec ??= {};
    const taints = node.spec.taints ?? [];
    if (!taints.some(({ key, effect }) => key === troubles[0] && effect === 'NoSchedule')) {
      node.spec.taints = [...taints, { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }];
    }
  },
};

/** Adds the overhead and the placement of the pod's runtime class. */
export const runtimeClass: AdmissionPlugin = {
  name: 'RuntimeClass',
  mutate(attributes) {
    const pod = createdPod(attributes);
    const name = pod?.spec?.runtimeClassName ?? '';
    if (pod?.spec === undefined || name === '') {
      return;
    }
    const found = attributes.context.registry.get('runtimeclasses.node.k8s.io', undefined, name);
    if (found === undefined) {
      throw refusal(attributes, `pod rejected: RuntimeClass ${JSON.stringify(name)} not found`);
    }
    applyClass(pod, found as unknown as RuntimeClass, (why) => refusal(attributes, why));
  },
};

function applyClass(pod: Pod, { overhead, scheduling }: RuntimeClass, refuse: (why: string) => Error): void {
  const { spec } = pod;
  if (spec === undefined) {
    return;
  }
  if (overhead?.podFixed !== undefined) {
    if (spec.overhead !== undefined && !same(spec.overhead, overhead.podFixed)) {
      throw refuse("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    }
    spec.overhead = { ...overhead.podFixed };
  }
  for (const [key, value] of Object.entries(scheduling?.nodeSelector ?? {})) {
    if (spec.nodeSelector?.[key] !== undefined && spec.nodeSelector[key] !== value) {
      throw refuse(`conflict: runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector differ in ${key}`);
    }
    spec.nodeSelector = { ...spec.nodeSelector, [key]: value };
  }
  const added = (scheduling?.tolerations ?? []).filter(
    (toleration) => !(spec.tolerations ?? []).some((other) => same(other, toleration)),
  );
  if (added.length > 0) {
    spec.tolerations = [...(spec.tolerations ?? []), ...structuredClone(added)];
  }
}

function coversExecution({ key = '', effect }: Toleration, wanted: string): boolean {
  return (key === wanted || key === '') && (effect === 'NoExecute' || effect === undefined);
}

// SPDX-License-Identifier: Apache-2.0
// The status of a ReplicaSet or ReplicationController as its pods make it.
import type { Pod, PodTemplateSpec, ReplicaSetStatus } from '../../machinery/api-types.ts';
import { removeCondition, setCondition } from '../conditions.ts';
import { isActive, isAvailable, isFinished, isReady, isTerminating } from '../pod-state.ts';

/** What ReplicaSets and ReplicationControllers have in common. */
export interface ReplicatedSpec {
  readonly replicas?: number;
  readonly minReadySeconds?: number;
  readonly template?: PodTemplateSpec;
}

export function replicaSetStatus(options: {
  spec: ReplicatedSpec;
  generation: number;
  old: ReplicaSetStatus | undefined;
  pods: readonly Pod[];
  /** Why pods could not be created or deleted in this round. */
  failure: { reason: 'FailedCreate' | 'FailedDelete'; message: string } | undefined;
  now: number;
}): ReplicaSetStatus {
  const { spec, old, now } = options;
  const active = options.pods.filter(isActive);
  const labels = Object.entries(spec.template?.metadata?.labels ?? {});
  const ready = active.filter(isReady);
  const { failure } = options;
  const conditions = failure
    ? setCondition(old?.conditions, { type: 'ReplicaFailure', status: 'True', ...failure }, now)
    : removeCondition(old?.conditions, 'ReplicaFailure');
  const status: ReplicaSetStatus = {
    replicas: active.length,
    fullyLabeledReplicas: active.filter(({ metadata }) =>
      labels.every(([key, value]) => metadata.labels?.[key] === value),
    ).length,
    readyReplicas: ready.length,
    availableReplicas: ready.filter((pod) => isAvailable(pod, spec.minReadySeconds ?? 0, now)).length,
    terminatingReplicas: options.pods.filter((pod) => isTerminating(pod) && !isFinished(pod)).length,
    observedGeneration: options.generation,
    ...(conditions.length > 0 && { conditions }),
  };
  // Zero counts are absent on the wire.
  for (const key of ['fullyLabeledReplicas', 'readyReplicas', 'availableReplicas', 'terminatingReplicas'] as const) {
    if (status[key] === 0) delete status[key];
  }
  return status;
}

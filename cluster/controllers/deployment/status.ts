// SPDX-License-Identifier: Apache-2.0
// The status of a Deployment: counts over its sets, and the conditions Available, Progressing and ReplicaFailure.
import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '../../machinery/api-types.ts';
import { findCondition, timestamp } from '../conditions.ts';
import { limitsOf } from './plan.ts';
import { sizeOf } from './replica-sets.ts';

export interface StatusInput {
  readonly deployment: Deployment;
  readonly current: ReplicaSet | undefined;
  readonly others: readonly ReplicaSet[];
  /** A set that was made in this round, and perhaps why it could not be made. */
  readonly created?: string | undefined;
  readonly createError?: string | undefined;
  readonly collisionCount?: number | undefined;
  readonly now: number;
}

const noDeadline = 2 ** 31 - 1;

export function deploymentStatus(input: StatusInput): DeploymentStatus {
  const { deployment, current, others } = input;
  const sets = current ? [current, ...others] : others;
  const count = (value: (set: ReplicaSet) => number): number => sets.reduce((sum, set) => sum + value(set), 0);
  const available = count(({ status }) => status?.availableReplicas ?? 0);
  const collisionCount = input.collisionCount ?? deployment.status?.collisionCount;
  const counts: DeploymentStatus = {
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas: count(({ status }) => status?.replicas ?? 0),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: count(({ status }) => status?.readyReplicas ?? 0),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, count(sizeOf) - available),
    terminatingReplicas: count(({ status }) => status?.terminatingReplicas ?? 0),
    ...(collisionCount !== undefined && { collisionCount }),
  };
  const conditions = conditionsOf(input, counts);
  // Zero counts are absent on the wire.
  for (const [key, value] of Object.entries(counts)) if (value === 0) delete counts[key as keyof DeploymentStatus];
  return { ...counts, ...(conditions.length > 0 && { conditions }) };
}

/** Milliseconds until the progress deadline passes, while progress is being waited for. */
export function deadlineInMs(deployment: Deployment, status: DeploymentStatus, now: number): number | undefined {
  const seconds = deployment.spec?.progressDeadlineSeconds;
  const progressing = findCondition(status.conditions, 'Progressing');
  if (seconds === undefined || seconds === noDeadline || !progressing?.lastUpdateTime) return undefined;
  if (progressing.reason === 'NewReplicaSetAvailable' || progressing.reason === 'ProgressDeadlineExceeded')
    return undefined;
  return Math.max(1000, Date.parse(progressing.lastUpdateTime) + seconds * 1000 - now + 1000);
}

function conditionsOf(input: StatusInput, counts: DeploymentStatus): DeploymentCondition[] {
  const { deployment, current, others, now } = input;
  const limits = limitsOf(deployment);
  let conditions = [...(deployment.status?.conditions ?? [])];
  const enough = (counts.availableReplicas ?? 0) >= limits.replicas - limits.maxUnavailable;
  conditions = put(
    conditions,
    enough
      ? {
          type: 'Available',
          status: 'True',
          reason: 'MinimumReplicasAvailable',
          message: 'Deployment has minimum availability.',
        }
      : {
          type: 'Available',
          status: 'False',
          reason: 'MinimumReplicasUnavailable',
          message: 'Deployment does not have minimum availability.',
        },
    now,
  );
  const { progressDeadlineSeconds } = deployment.spec ?? {};
  if (progressDeadlineSeconds !== undefined && progressDeadlineSeconds !== noDeadline) {
    conditions = progress(input, counts, conditions);
  }
  const failure = [...(current ? [current] : []), ...others]
    .map(({ status }) => findCondition(status?.conditions, 'ReplicaFailure'))
    .find((condition) => condition !== undefined);
  if (input.createError) {
    return put(
      conditions,
      { type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message: input.createError },
      now,
    );
  }
  if (!failure) return conditions.filter(({ type }) => type !== 'ReplicaFailure');
  const { status = 'True', reason = '', message = '' } = failure;
  return put(conditions, { type: 'ReplicaFailure', status, reason, message }, now);
}

function progress(
  input: StatusInput,
  counts: DeploymentStatus,
  conditions: DeploymentCondition[],
): DeploymentCondition[] {
  const { deployment, current, now } = input;
  const old = findCondition(conditions, 'Progressing');
  const say = (status: 'True' | 'False' | 'Unknown', reason: string, message: string): DeploymentCondition => ({
    type: 'Progressing',
    status,
    reason,
    message,
  });
  if (deployment.spec?.paused) {
    if (old?.reason === 'DeploymentPaused' || old?.reason === 'ProgressDeadlineExceeded') return conditions;
    return put(conditions, say('Unknown', 'DeploymentPaused', 'Deployment is paused'), now);
  }
  if (old?.reason === 'DeploymentPaused')
    return put(conditions, say('Unknown', 'DeploymentResumed', 'Deployment is resumed'), now);
  if (input.createError) return put(conditions, say('False', 'ReplicaSetCreateError', input.createError), now);
  if (input.created) {
    return put(conditions, say('True', 'NewReplicaSetCreated', `Created new replica set "${input.created}"`), now);
  }
  if (!current) return conditions;
  const name = current.metadata.name;
  const settled = counts.replicas === counts.updatedReplicas && old?.reason === 'NewReplicaSetAvailable';
  if (settled) return conditions;
  const replicas = deployment.spec?.replicas ?? 1;
  const complete =
    counts.updatedReplicas === replicas && counts.replicas === replicas && counts.availableReplicas === replicas;
  if (complete) {
    return put(
      conditions,
      say('True', 'NewReplicaSetAvailable', `ReplicaSet "${name}" has successfully progressed.`),
      now,
    );
  }
  if (!old) return put(conditions, say('True', 'FoundNewReplicaSet', `Found new replica set "${name}"`), now);
  if (hasProgressed(deployment.status, counts)) {
    // The deadline counts from the last progress, so the condition is stamped again even when nothing in it changes.
    const next = say('True', 'ReplicaSetUpdated', `ReplicaSet "${name}" is progressing.`);
    const lastTransitionTime =
      old.status === 'True' && old.lastTransitionTime ? old.lastTransitionTime : timestamp(now);
    const stamped = { ...next, lastUpdateTime: timestamp(now), lastTransitionTime };
    return conditions.map((condition) => (condition === old ? stamped : condition));
  }
  const deadline = Date.parse(old.lastUpdateTime ?? '') + (deployment.spec?.progressDeadlineSeconds ?? 0) * 1000;
  const waiting = old.reason !== 'NewReplicaSetAvailable' && old.reason !== 'ProgressDeadlineExceeded';
  if (waiting && now > deadline) {
    return put(
      conditions,
      say('False', 'ProgressDeadlineExceeded', `ReplicaSet "${name}" has timed out progressing.`),
      now,
    );
  }
  return conditions;
}

function hasProgressed(old: DeploymentStatus | undefined, next: DeploymentStatus): boolean {
  const outdated = (status: DeploymentStatus | undefined): number =>
    (status?.replicas ?? 0) - (status?.updatedReplicas ?? 0);
  return (
    (next.updatedReplicas ?? 0) > (old?.updatedReplicas ?? 0) ||
    outdated(next) < outdated(old) ||
    (next.readyReplicas ?? 0) > (old?.readyReplicas ?? 0) ||
    (next.availableReplicas ?? 0) > (old?.availableReplicas ?? 0)
  );
}

/** Sets a condition unless status and reason are the same; a Deployment's conditions also tell when they were updated. */
function put(
  conditions: readonly DeploymentCondition[],
  next: DeploymentCondition,
  now: number,
): DeploymentCondition[] {
  const old = findCondition(conditions, next.type);
  if (old && old.status === next.status && old.reason === next.reason) return [...conditions];
  const time = timestamp(now);
  const lastTransitionTime =
    old && old.status === next.status && old.lastTransitionTime ? old.lastTransitionTime : time;
  const stamped = { ...next, lastUpdateTime: time, lastTransitionTime };
  return old ? conditions.map((condition) => (condition === old ? stamped : condition)) : [...conditions, stamped];
}

// SPDX-License-Identifier: Apache-2.0
// How a Deployment knows its ReplicaSets: which one is the current template's, revisions, and the annotations by which
// sizes and revisions are remembered.
import type { Deployment, PodTemplateSpec, ReplicaSet } from '../../machinery/api-types.ts';
import { resources } from '../../machinery/resources.ts';
import { canonicalJson, shortHash } from '../canonical-json.ts';
import { ownerReferenceTo } from '../ownership.ts';

export const hashLabel = 'pod-template-hash';
export const revisionAnnotation = 'deployment.kubernetes.io/revision';
const historyAnnotation = 'deployment.kubernetes.io/revision-history';
const desiredAnnotation = 'deployment.kubernetes.io/desired-replicas';
const maxAnnotation = 'deployment.kubernetes.io/max-replicas';

/** Annotations that are not handed down from the Deployment to its ReplicaSets. */
const ownAnnotations = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  'deprecated.deployment.rollback.to',
  revisionAnnotation,
  historyAnnotation,
  desiredAnnotation,
  maxAnnotation,
]);

/** The oldest set with the Deployment's present template, and all others. */
export function splitReplicaSets(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
): { current: ReplicaSet | undefined; others: ReplicaSet[] } {
  const wanted = templateIdentity(deployment.spec?.template);
  const current = byAge(sets).find((set) => templateIdentity(set.spec?.template) === wanted);
  return { current, others: sets.filter((set) => set !== current) };
}

export function byAge(sets: readonly ReplicaSet[]): ReplicaSet[] {
  const age = (set: ReplicaSet): string => `${set.metadata.creationTimestamp} ${set.metadata.name}`;
  return sets.toSorted((a, b) => (age(a) < age(b) ? -1 : 1));
}

export function sizeOf(set: ReplicaSet): number {
  return set.spec?.replicas ?? 0;
}

/** Revisions are 64 bits wide. What is no number counts as none. */
export function revisionOf(object: { metadata: { annotations?: Record<string, string> } }): bigint {
  const text = object.metadata.annotations?.[revisionAnnotation] ?? '';
  return /^\d+$/.test(text) ? BigInt(text) : 0n;
}

export function desiredOf(set: ReplicaSet): number | undefined {
  const text = set.metadata.annotations?.[desiredAnnotation];
  return text === undefined ? undefined : Number(text);
}

export function maxOf(set: ReplicaSet): number | undefined {
  const text = set.metadata.annotations?.[maxAnnotation];
  return text === undefined ? undefined : Number(text);
}

/** The annotations that a set carries after being scaled for a Deployment of this size. */
export function sizeAnnotations(replicas: number, maxSurge: number): Record<string, string> {
  return { [desiredAnnotation]: String(replicas), [maxAnnotation]: String(replicas + maxSurge) };
}

/** What the current set's annotations should be at `revision`; a set that comes back into use keeps its history. */
export function currentAnnotations(
  deployment: Deployment,
  set: ReplicaSet | undefined,
  revision: bigint,
): Record<string, string> {
  const annotations: Record<string, string> = { ...set?.metadata.annotations };
  for (const [key, value] of Object.entries(deployment.metadata.annotations ?? {})) {
    if (!ownAnnotations.has(key)) annotations[key] = value;
  }
  const before = annotations[revisionAnnotation];
  if (revisionOf({ metadata: { annotations } }) < revision) {
    annotations[revisionAnnotation] = String(revision);
    if (before) {
      const history = annotations[historyAnnotation];
      annotations[historyAnnotation] = history ? `${history},${before}` : before;
    }
  }
  return annotations;
}

/** A new set for the present template. */
export function newReplicaSet(
  deployment: Deployment,
  options: { replicas: number; revision: bigint; maxSurge: number },
): ReplicaSet {
  const { template, selector, minReadySeconds, replicas } = deployment.spec ?? { template: {} };
  const hash = shortHash(withoutHash(template), deployment.status?.collisionCount ?? 0);
  const labels = { ...template.metadata?.labels, [hashLabel]: hash };
  return {
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      namespace: deployment.metadata.namespace ?? '',
      labels,
      annotations: {
        ...currentAnnotations(deployment, undefined, options.revision),
        ...sizeAnnotations(replicas ?? 1, options.maxSurge),
      },
      ownerReferences: [ownerReferenceTo(deployment, resources.deployments)],
    },
    spec: {
      replicas: options.replicas,
      ...(minReadySeconds && { minReadySeconds }),
      selector: { ...selector, matchLabels: { ...selector?.matchLabels, [hashLabel]: hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}

export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return templateIdentity(a) === templateIdentity(b);
}

function templateIdentity(template: PodTemplateSpec | undefined): string {
  return canonicalJson(withoutHash(template ?? {}));
}

function withoutHash(template: PodTemplateSpec): PodTemplateSpec {
  const { creationTimestamp: _, ...metadata } = template.metadata ?? {};
  const labels = Object.fromEntries(Object.entries(metadata.labels ?? {}).filter(([key]) => key !== hashLabel));
  return { ...template, metadata: { ...metadata, labels } };
}

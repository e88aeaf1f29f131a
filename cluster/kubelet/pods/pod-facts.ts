// SPDX-License-Identifier: Apache-2.0
// Small questions about a pod's spec that several parts of the kubelet ask in the same way. Pure.
import type { Container, Pod, PodSpec } from '../../machinery/api-types.ts';
import { containerAmounts } from '../../machinery/pod-resources.ts';
import { createHash } from 'node:crypto';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

export interface PodIdentity {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
}

export const configHashAnnotation = 'kubernetes.io/config.hash';
export const configMirrorAnnotation = 'kubernetes.io/config.mirror';
export const configSourceAnnotation = 'kubernetes.io/config.source';
export const configSeenAnnotation = 'kubernetes.io/config.seen';

export function specOf(pod: Pod): PodSpec {
  return pod.spec ?? { containers: [] };
}

export function identityOf(pod: Pod): PodIdentity {
  const { uid = '', name = '', namespace = 'default' } = pod.metadata;
  return { uid, name, namespace };
}

/** `name_namespace`, as event messages and directories spell it. */
export function fullName(pod: Pod): string {
  return `${pod.metadata.name ?? ''}_${pod.metadata.namespace ?? ''}`;
}

export function isMirror(pod: Pod): boolean {
  return pod.metadata.annotations?.[configMirrorAnnotation] !== undefined;
}

export function isStatic(pod: Pod): boolean {
  const source = pod.metadata.annotations?.[configSourceAnnotation];
  return source !== undefined && source !== 'api';
}

export function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}

export function isTerminalPhase(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

/** Seconds that a pod gets to end; at least 1 for an API deletion that asked for 0 while the node still holds it. */
export function graceSecondsOf(pod: Pod): number {
  return pod.metadata.deletionGracePeriodSeconds ?? specOf(pod).terminationGracePeriodSeconds ?? 30;
}

/** The quality-of-service class by cpu and memory of all containers. */
export function qosClassOf(pod: Pod): QosClass {
  const spec = specOf(pod);
  const scopes =
    spec.resources?.requests || spec.resources?.limits
      ? [{ resources: spec.resources }]
      : [...spec.containers, ...(spec.initContainers ?? [])];
  let any = false;
  let guaranteed = true;
  for (const scope of scopes) {
    const requests = containerAmounts(scope, 'requests');
    const limits = containerAmounts(scope, 'limits');
    for (const name of ['cpu', 'memory']) {
      const request = requests[name] ?? 0;
      const limit = limits[name] ?? 0;
      if (request > 0 || limit > 0) any = true;
      if (limit === 0 || (requests[name] !== undefined && request !== limit)) guaranteed = false;
    }
  }
  if (!any) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

/** Changes when the running container no longer matches its definition and must be replaced. */
export function definitionOf(container: Pick<Container, 'name' | 'image'>): string {
  return createHash('sha256')
    .update(JSON.stringify([container.name, container.image ?? '']))
    .digest('hex')
    .slice(0, 16);
}

export const rfc3339 = (milliseconds: number): string => new Date(milliseconds).toISOString().replace(/\.\d+Z$/, 'Z');

/** Nanoseconds since the epoch to an API timestamp. */
export const nanosToTime = (nanoseconds: number): string => rfc3339(nanoseconds / 1e6);

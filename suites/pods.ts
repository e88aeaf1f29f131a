// SPDX-License-Identifier: Apache-2.0
/** Pods that do nothing, in the terms of Pod Security level restricted, and waiting for what becomes of pods. */
import type { V1Container, V1Pod, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { done, pending, type CaseContext, type Progress } from './case.ts';

export interface IdlePodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly spec?: Partial<V1PodSpec>;
  readonly container?: Partial<V1Container>;
}

/** A pod spec with one container that sleeps; it ends at once when told to. */
export function idleSpec(t: CaseContext, options: Omit<IdlePodOptions, 'labels'> = {}): V1PodSpec {
  return {
    terminationGracePeriodSeconds: 0,
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
    ...options.spec,
    containers: [
      {
        name: 'main',
        image: t.images.probe,
        imagePullPolicy: 'IfNotPresent',
        command: ['/bin/busybox', 'sleep', '1000000'],
        resources: { requests: { cpu: '1m', memory: '8Mi' } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        ...options.container,
      },
    ],
  };
}

export function idleTemplate(t: CaseContext, options: IdlePodOptions = {}): V1PodTemplateSpec {
  return { metadata: { labels: { ...options.labels } }, spec: idleSpec(t, options) };
}

export function createIdlePod(
  t: CaseContext,
  where: { readonly namespace: string; readonly name: string },
  options: IdlePodOptions = {},
): Promise<V1Pod> {
  return t.kube.core.createNamespacedPod({
    namespace: where.namespace,
    body: { metadata: { name: where.name, labels: { ...options.labels } }, spec: idleSpec(t, options) },
  });
}

export function waitForPod<R>(
  t: CaseContext,
  where: { readonly namespace: string; readonly name: string },
  options: {
    readonly what: string;
    readonly condition: (pod: V1Pod | undefined) => Progress<R>;
    readonly timeoutMs?: number;
  },
): Promise<R> {
  return t.kube.waitForObject<V1Pod, R>({ apiVersion: 'v1', kind: 'Pod', ...where }, options.condition, {
    description: `pod ${where.name} ${options.what}`,
    timeoutMs: options.timeoutMs ?? 60_000,
    signal: t.signal,
  });
}

/** Resolves to the pod once it is Ready. */
export function ready(t: CaseContext, where: { readonly namespace: string; readonly name: string }): Promise<V1Pod> {
  return waitForPod(t, where, {
    what: 'to be Ready',
    condition: (pod) => (isReady(pod) ? done(pod as V1Pod) : pending(describePod(pod))),
  });
}

/** Resolves to the name of the pod's node once it has one. */
export function scheduled(
  t: CaseContext,
  where: { readonly namespace: string; readonly name: string },
): Promise<string> {
  return waitForPod(t, where, {
    what: 'to have a node',
    condition: (pod) => (pod?.spec?.nodeName ? done(pod.spec.nodeName) : pending(describePod(pod))),
  });
}

/** Resolves to the scheduler's message once the pod is reported as unschedulable. */
export function unschedulable(
  t: CaseContext,
  where: { readonly namespace: string; readonly name: string },
): Promise<string> {
  return waitForPod(t, where, {
    what: 'to be reported as unschedulable',
    condition: (pod) => {
      const found = pod?.status?.conditions?.find(({ type }) => type === 'PodScheduled');
      return found?.status === 'False' && found.reason === 'Unschedulable'
        ? done(found.message ?? '')
        : pending(describePod(pod));
    },
  });
}

export function isReady(pod: V1Pod | undefined): boolean {
  return pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

export function describePod(pod: V1Pod | undefined): string {
  if (pod === undefined) return 'there is no such pod';
  const scheduling = pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  const waiting = pod.status?.containerStatuses?.find(({ state }) => state?.waiting !== undefined)?.state?.waiting;
  return [
    `phase ${pod.status?.phase}`,
    pod.spec?.nodeName === undefined ? 'no node' : `on ${pod.spec.nodeName}`,
    scheduling?.message,
    waiting === undefined ? undefined : `${waiting.reason} ${waiting.message ?? ''}`,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

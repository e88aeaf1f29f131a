// SPDX-License-Identifier: Apache-2.0
/** What pods say of themselves: programs that end, images that are not there, pods that nobody places. Pure. */
import type { CoreV1Event, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { objectName, type Finding } from './finding.ts';

const imageReasons = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull']);
const crashReasons = new Set([
  'CrashLoopBackOff',
  'CreateContainerError',
  'RunContainerError',
  'CreateContainerConfigError',
]);

/** One finding per owner: ten pods of one ReplicaSet that crash have one cause. */
export function podFindings(pods: readonly V1Pod[], events: readonly CoreV1Event[]): Finding[] {
  const found = new Map<string, Finding>();
  for (const pod of pods) {
    const finding = podFinding(pod, events);
    if (finding === undefined) continue;
    const owner = pod.metadata?.ownerReferences?.[0]?.uid ?? pod.metadata?.uid ?? '';
    const key = `${owner} ${finding.reason}`;
    const before = found.get(key);
    found.set(key, before === undefined ? finding : { ...before, objects: [...before.objects, ...finding.objects] });
  }
  return [...found.values()];
}

function podFinding(pod: V1Pod, events: readonly CoreV1Event[]): Finding | undefined {
  if (pod.metadata?.deletionTimestamp !== undefined) return undefined;
  const name = objectName('Pod', pod.metadata);
  const base = {
    component: 'application' as const,
    objects: [name],
    ...(pod.spec?.nodeName === undefined ? {} : { node: pod.spec.nodeName }),
  };
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const image = statuses.find(({ state }) => imageReasons.has(state?.waiting?.reason ?? ''));
  if (image !== undefined) {
    return {
      ...base,
      reason: 'image',
      summary: `${name} cannot get the image ${image.image} of its container ${image.name}`,
      evidence: [waiting(image), ...warnings(pod, events)],
      next: 'Correct the name of the image, or see that the node can reach its registry and may pull from it.',
    };
  }
  const crash = statuses.find(
    (status) => crashReasons.has(status.state?.waiting?.reason ?? '') || hasJustCrashed(status),
  );
  if (crash !== undefined) {
    return {
      ...base,
      reason: 'crash-loop',
      summary: `the container ${crash.name} of ${name} ends as soon as it has started`,
      evidence: [waiting(crash), lastEnd(crash), ...warnings(pod, events)].filter((line) => line !== ''),
      next: `kubectl logs -n ${pod.metadata?.namespace ?? ''} ${pod.metadata?.name ?? ''} -c ${crash.name} --previous`,
    };
  }
  return undefined;
}

/** Between two restarts a crashing container looks like any other. */
function hasJustCrashed({ restartCount, state, lastState }: V1ContainerStatus): boolean {
  const end = state?.terminated ?? lastState?.terminated;
  return restartCount > 0 && end !== undefined && end.exitCode !== 0 && state?.running === undefined;
}

function waiting({ name, state }: V1ContainerStatus): string {
  const { reason = '', message = '' } = state?.waiting ?? {};
  return reason === '' ? '' : `container ${name}: ${reason}: ${message}`;
}

function lastEnd({ name, state, lastState, restartCount }: V1ContainerStatus): string {
  const end = state?.terminated ?? lastState?.terminated;
  return end === undefined
    ? ''
    : `container ${name}: exit code ${end.exitCode}, ${end.reason ?? ''}, ${restartCount} restarts`;
}

/** Warnings about an object, newest last; at most three. */
export function warnings(object: { metadata?: { uid?: string } }, events: readonly CoreV1Event[]): string[] {
  return events
    .filter(({ type, involvedObject }) => type === 'Warning' && involvedObject.uid === object.metadata?.uid)
    .slice(-3)
    .map(({ reason = '', message = '' }) => `event ${reason}: ${message}`);
}

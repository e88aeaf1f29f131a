// SPDX-License-Identifier: Apache-2.0
/** The pod with which preflight and feature detection try things: the probe image, in the terms of Pod Security level restricted. */
import type { V1Pod } from '@kubernetes/client-node';
import { done, pending, type Progress } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { runLabels } from '../execute/run-labels.ts';
import { Problem } from '../problem.ts';

export interface ProbePodRequest {
  readonly name: string;
  readonly namespace: string;
  readonly runId: string;
  readonly image: string;
  /** A shell script; it must not end. */
  readonly script: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

const startTimeoutMs = 60_000;

/** Starts the pod and resolves once it is Ready; a Problem says why it does not get there, of which the image is the usual reason. */
export async function startProbePod(kube: KubeClients, request: ProbePodRequest): Promise<V1Pod> {
  const { name, namespace, image } = request;
  await kube.core.createNamespacedPod({
    namespace,
    body: {
      metadata: { name, labels: { ...request.labels, ...runLabels(request.runId) } },
      spec: {
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            name: 'probe',
            image,
            imagePullPolicy: 'IfNotPresent',
            command: ['/bin/sh', '-c', request.script],
            resources: { requests: { cpu: '1m', memory: '8Mi' } },
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          },
        ],
      },
    },
  });
  return kube.waitForObject<V1Pod, V1Pod>(
    { apiVersion: 'v1', kind: 'Pod', name, namespace },
    (pod) => podProgress(pod, image),
    { description: `the probe pod ${name} to be Ready`, timeoutMs: startTimeoutMs, signal: request.signal },
  );
}

export function podProgress(pod: V1Pod | undefined, image: string): Progress<V1Pod> {
  if (pod === undefined) return pending('it is gone');
  const conditions = pod.status?.conditions ?? [];
  if (conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True')) return done(pod);
  const waiting = pod.status?.containerStatuses?.[0]?.state?.waiting;
  if (
    waiting?.reason === 'ErrImagePull' ||
    waiting?.reason === 'ImagePullBackOff' ||
    waiting?.reason === 'ErrImageNeverPull'
  ) {
    throw new Problem(
      `node ${pod.spec?.nodeName} cannot pull the probe image ${image}: ${waiting.message ?? waiting.reason}`,
      'Push it to a registry that the nodes reach (plumb image push REF) and name it with --image REF, or load it into every node (plumb image build -o FILE).',
    );
  }
  const unscheduled = conditions.find((condition) => condition.type === 'PodScheduled' && condition.status === 'False');
  if (unscheduled !== undefined) return pending(`not scheduled: ${unscheduled.message ?? unscheduled.reason}`);
  return pending(
    `phase ${pod.status?.phase}${waiting === undefined ? '' : `, ${waiting.reason} ${waiting.message ?? ''}`}`,
  );
}

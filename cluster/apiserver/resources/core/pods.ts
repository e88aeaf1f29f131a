// SPDX-License-Identifier: Apache-2.0
// Pods: what the scheduler places and the kubelet runs.
import type { Pod } from '../../../machinery/api-types.ts';
import type { ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { FieldError, ResourceDefinition } from '../definition.ts';
import { defaultPodOnly, defaultPodSpec } from '../defaults/pod-spec.ts';
import { bindingSubresource } from '../subresources/binding.ts';
import { evictionSubresource } from '../subresources/eviction.ts';
import { podLog, podStream } from '../subresources/kubelet-streams.ts';
import { podProxy } from '../subresources/proxies.ts';
import { podFrame, validateEphemeralContainers } from '../validation/containers.ts';
import { immutable, required } from '../validation/fields.ts';
import { validatePodSpec } from '../validation/pod-spec.ts';
import { validateEphemeralContainersUpdate, validatePodUpdate, validateResize } from '../validation/pod-update.ts';
import { podColumns, podWideColumns } from './pod-columns.ts';
import { qosClass } from './qos.ts';

export function pods(config: ResourcesConfig): ResourceDefinition {
  return define<Pod>({
    group: '',
    plural: 'pods',
    kind: 'Pod',
    namespaced: true,
    shortNames: ['po'],
    categories: ['all'],
    default(pod) {
      if (pod.spec !== undefined) {
        defaultPodSpec(pod.spec);
        defaultPodOnly(pod.spec);
      }
    },
    status: { prepareForUpdate: keepQosClass, validateUpdate: validateStatus },
    initialStatus: (pod) => ({
      phase: 'Pending',
      ...((pod.spec?.schedulingGates ?? []).length > 0 && {
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            reason: 'SchedulingGated',
            message: 'Scheduling is blocked due to non-empty scheduling gates',
          },
        ],
      }),
      qosClass: qosClass(pod.spec ?? { containers: [] }),
    }),
    validate: (pod) => (pod.spec === undefined ? [required('spec.containers')] : validatePodSpec(pod.spec, 'spec')),
    // The spec can hardly change; what may change is checked by the rules of an update, so the rest need not be again.
    validateUpdateOnly: true,
    validateUpdate: (pod, old) => [
      ...validatePodUpdate(pod, old),
      ...changedImages(pod, old),
      ...validateEphemeralContainersUpdate(pod, old),
    ],
    views: {
      ephemeralcontainers: {
        prepareForUpdate: (pod, old) => keepSpecBut(pod, old, ['ephemeralContainers']),
        validateUpdate: (pod, old) => [
          ...validateEphemeralContainers(podFrame(pod.spec ?? { containers: [] }), 'spec.ephemeralContainers'),
          ...validateEphemeralContainersUpdate(pod, old),
        ],
      },
      resize: {
        prepareForUpdate: keepAllButResources,
        validateUpdate: (pod, old) => [
          ...validateResize(pod, old, {
            now: qosClass(pod.spec ?? { containers: [] }),
            before: old.status?.qosClass ?? '',
          }),
          ...validatePodSpec(pod.spec ?? { containers: [] }, 'spec'),
        ],
      },
    },
    gracePeriodSeconds,
    subresources: {
      binding: bindingSubresource,
      eviction: evictionSubresource,
      log: podLog(config.kubelet),
      exec: podStream('exec', config.kubelet),
      attach: podStream('attach', config.kubelet),
      portforward: podStream('portforward', config.kubelet),
      proxy: podProxy,
    },
    selectableFields: (pod) => ({
      'spec.nodeName': pod.spec?.nodeName ?? '',
      'spec.restartPolicy': pod.spec?.restartPolicy ?? '',
      'spec.schedulerName': pod.spec?.schedulerName ?? '',
      'spec.serviceAccountName': pod.spec?.serviceAccountName ?? '',
      'spec.hostNetwork': String(pod.spec?.hostNetwork === true),
      'status.phase': pod.status?.phase ?? '',
      'status.podIP': pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP ?? '',
      'status.nominatedNodeName': pod.status?.nominatedNodeName ?? '',
    }),
    columns: podColumns,
    wideColumns: podWideColumns,
  });
}

/** At once while nothing runs; else what was asked for, or the pod's own period. */
function gracePeriodSeconds(pod: Pod, requested: number | undefined): number {
  const phase = pod.status?.phase;
  if ((pod.spec?.nodeName ?? '') === '' || phase === 'Succeeded' || phase === 'Failed') {
    return 0;
  }
  const seconds = requested ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
  return seconds < 0 ? 1 : seconds;
}

function keepQosClass(pod: Pod, old: Pod): void {
  if (old.status?.qosClass !== undefined) {
    pod.status = { ...pod.status, qosClass: pod.status?.qosClass ?? old.status.qosClass };
  }
}

function validateStatus(pod: Pod, old: Pod): FieldError[] {
  return old.status?.qosClass === undefined
    ? []
    : immutable('status.qosClass', pod.status?.qosClass, old.status.qosClass);
}

function changedImages(pod: Pod, old: Pod): FieldError[] {
  const before = [...(old.spec?.containers ?? []), ...(old.spec?.initContainers ?? [])].map(({ image }) => image);
  const now = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].map(({ image }) => image);
  return now.every((image, index) => image === before[index]) || pod.spec === undefined
    ? []
    : validatePodSpec(pod.spec, 'spec');
}

function keepSpecBut(pod: Pod, old: Pod, fields: readonly 'ephemeralContainers'[]): void {
  const spec = { ...old.spec, containers: old.spec?.containers ?? [] };
  for (const field of fields) {
    if (pod.spec?.[field] === undefined) {
      delete spec[field];
    } else {
      spec[field] = pod.spec[field];
    }
  }
  pod.spec = spec;
  keepStatus(pod, old);
}

function keepAllButResources(pod: Pod, old: Pod): void {
  const oldSpec = old.spec ?? { containers: [] };
  const resourcesOf = new Map(
    [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].map((container) => [
      container.name,
      container.resources ?? {},
    ]),
  );
  const resized = <T extends { name: string }>(containers: readonly T[]): T[] =>
    containers.map((container) => ({ ...container, resources: resourcesOf.get(container.name) ?? {} }));
  pod.spec = {
    ...oldSpec,
    containers: resized(oldSpec.containers),
    ...(oldSpec.initContainers !== undefined && { initContainers: resized(oldSpec.initContainers) }),
  };
  keepStatus(pod, old);
}

function keepStatus(pod: Pod, old: Pod): void {
  if (old.status !== undefined) {
    pod.status = old.status;
  }
}

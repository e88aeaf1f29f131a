// SPDX-License-Identifier: Apache-2.0
// PodSecurity: holds pods to the Pod Security Standards that their namespace's labels ask for.
import type { Pod, PodSpec } from '../../machinery/api-types.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject } from '../resources/definition.ts';
import { same } from '../resources/validation/fields.ts';
import { namespaceOf, refusal, resourceName } from './attributes.ts';
import { violationsOf, type Level } from './pod-security-standards.ts';

const prefix = 'pod-security.kubernetes.io/';

export const podSecurity: AdmissionPlugin = {
  name: 'PodSecurity',
  validate(attributes) {
    const spec = specOf(attributes);
    if (spec === undefined || attributes.operation === 'DELETE') {
      return;
    }
    const namespace = attributes.context.registry.get('namespaces', undefined, namespaceOf(attributes));
    const labels = namespace?.metadata.labels ?? {};
    const isPod = resourceName(attributes) === 'pods';
    const metadata = (attributes.object as unknown as Pod).metadata;
    const enforced = verdict(labels, 'enforce', { metadata, spec });
    // Workloads are never refused, only warned of: their pods will be.
    if (isPod && enforced !== undefined) {
      throw refusal(attributes, `violates ${enforced}`);
    }
    const warned = verdict(labels, 'warn', { metadata, spec });
    if (warned !== undefined) {
      attributes.context.warn(`would violate ${warned}`);
    }
  },
};

/** `PodSecurity "restricted:latest": ...`, or undefined for a pod that keeps to the level. */
function verdict(
  labels: Readonly<Record<string, string>>,
  mode: 'enforce' | 'warn',
  pod: Pick<Pod, 'metadata' | 'spec'> & { spec: PodSpec },
): string | undefined {
  const level = levelOf(labels[`${prefix}${mode}`]);
  if (level === undefined) {
    return undefined;
  }
  const violations = violationsOf(level, pod);
  if (violations.length === 0) {
    return undefined;
  }
  const version = labels[`${prefix}${mode}-version`] ?? 'latest';
  return `PodSecurity ${JSON.stringify(`${level}:${version}`)}: ${violations.join(', ')}`;
}

/** A level that does not exist counts as the strictest, as upstream does. */
function levelOf(text: string | undefined): Level | undefined {
  if (text === undefined || text === 'privileged') {
    return undefined;
  }
  return text === 'baseline' ? 'baseline' : 'restricted';
}

/** The spec to judge: of a pod, or of the template of a workload. Undefined where nothing that matters has changed. */
function specOf(attributes: AdmissionAttributes): PodSpec | undefined {
  const { context, object, old } = attributes;
  const sub = context.subresource ?? '';
  if (object === undefined || (sub !== '' && sub !== 'ephemeralcontainers')) {
    return undefined;
  }
  const spec = templateSpec(resourceName(attributes), object);
  const before = old === undefined ? undefined : templateSpec(resourceName(attributes), old);
  return spec !== undefined && before !== undefined && same(spec, before) ? undefined : spec;
}

function templateSpec(resource: string, object: KubeObject): PodSpec | undefined {
  const { spec } = object as unknown as {
    spec?: PodSpec & {
      template?: { spec?: PodSpec };
      jobTemplate?: { spec?: { template?: { spec?: PodSpec } } };
    };
  };
  switch (resource) {
    case 'pods':
      return spec;
    case 'deployments.apps':
    case 'replicasets.apps':
    case 'statefulsets.apps':
    case 'daemonsets.apps':
    case 'jobs.batch':
    case 'replicationcontrollers':
      return spec?.template?.spec;
    case 'cronjobs.batch':
      return spec?.jobTemplate?.spec?.template?.spec;
    case 'podtemplates':
      return (object as unknown as { template?: { spec?: PodSpec } }).template?.spec;
    default:
      return undefined;
  }
}

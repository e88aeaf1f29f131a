// SPDX-License-Identifier: Apache-2.0
// What of a pod may change after it was created.
import type { Pod, PodSpec, Toleration } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { forbidden, invalid, same } from './fields.ts';

const frozen =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

export function validatePodUpdate(pod: Pod, old: Pod): FieldError[] {
  const spec = pod.spec ?? { containers: [] };
  const oldSpec = old.spec ?? { containers: [] };
  if (spec.containers.length !== oldSpec.containers.length) {
    return [forbidden('spec.containers', 'pod updates may not add or remove containers')];
  }
  if ((spec.initContainers ?? []).length !== (oldSpec.initContainers ?? []).length) {
    return [forbidden('spec.initContainers', 'pod updates may not add or remove containers')];
  }
  const errors = [
    ...validateDeadline(spec, oldSpec),
    ...validateAddedTolerations(spec.tolerations, oldSpec.tolerations),
    ...validateGates(spec, oldSpec),
  ];
  if (errors.length > 0) {
    return errors;
  }
  const changed = changedFields(spec, oldSpec);
  return changed.length === 0 ? [] : [forbidden('spec', `${frozen}\n${describe(changed, spec, oldSpec)}`)];
}

/** Ephemeral containers can only be added. */
export function validateEphemeralContainersUpdate(pod: Pod, old: Pod): FieldError[] {
  const now = new Map((pod.spec?.ephemeralContainers ?? []).map((container) => [container.name, container]));
  return (old.spec?.ephemeralContainers ?? []).flatMap((container) => {
    const found = now.get(container.name);
    if (found === undefined) {
      return [
        forbidden(
          'spec.ephemeralContainers',
          `existing ephemeral containers ${JSON.stringify(container.name)} may not be removed\n`,
        ),
      ];
    }
    return same(found, container)
      ? []
      : [
          forbidden(
            'spec.ephemeralContainers',
            `existing ephemeral containers ${JSON.stringify(container.name)} may not be changed\n`,
          ),
        ];
  });
}

/** A resize may only change cpu and memory of containers, and never the pod's QoS class. */
export function validateResize(
  pod: Pod,
  old: Pod,
  classes: { readonly now: string; readonly before: string },
): FieldError[] {
  const errors: FieldError[] = [];
  if (classes.now !== classes.before) {
    errors.push(invalid('metadata.qosClass', classes.now, 'Pod QOS Class may not change as a result of resizing'));
  }
  for (const group of ['containers', 'initContainers'] as const) {
    for (const [index, container] of (pod.spec?.[group] ?? []).entries()) {
      const before = old.spec?.[group]?.[index]?.resources;
      for (const kind of ['requests', 'limits'] as const) {
        const amounts = { ...before?.[kind], ...container.resources?.[kind] };
        for (const name of Object.keys(amounts)) {
          const differs = !same(container.resources?.[kind]?.[name], before?.[kind]?.[name]);
          if (differs && name !== 'cpu' && name !== 'memory') {
            errors.push(
              forbidden(`spec.${group}[${index}].resources.${kind}`, 'only cpu and memory resources are mutable'),
            );
          }
        }
      }
    }
  }
  return errors;
}

function validateDeadline(spec: PodSpec, old: PodSpec): FieldError[] {
  const path = 'spec.activeDeadlineSeconds';
  if (old.activeDeadlineSeconds === undefined) {
    return [];
  }
  if (spec.activeDeadlineSeconds === undefined) {
    return [invalid(path, null, 'must not update from a positive integer to nil value')];
  }
  return spec.activeDeadlineSeconds > old.activeDeadlineSeconds
    ? [invalid(path, spec.activeDeadlineSeconds, 'must be less than or equal to previous value')]
    : [];
}

function validateAddedTolerations(
  now: readonly Toleration[] | undefined,
  before: readonly Toleration[] | undefined,
): FieldError[] {
  const kept = (before ?? []).every((toleration) =>
    (now ?? []).some(
      (other) =>
        (other.key ?? '') === (toleration.key ?? '') &&
        (other.operator ?? 'Equal') === (toleration.operator ?? 'Equal') &&
        (other.value ?? '') === (toleration.value ?? '') &&
        (other.effect ?? '') === (toleration.effect ?? ''),
    ),
  );
  return kept
    ? []
    : [forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds')];
}

function validateGates(spec: PodSpec, old: PodSpec): FieldError[] {
  const known = new Set((old.schedulingGates ?? []).map((gate) => gate.name));
  return (spec.schedulingGates ?? [])
    .filter((gate) => !known.has(gate.name))
    .map((gate) =>
      forbidden('spec.schedulingGates', `only deletion is allowed, but found new scheduling gate '${gate.name}'`),
    );
}

const free = new Set(['activeDeadlineSeconds', 'tolerations', 'schedulingGates', 'containers', 'initContainers']);

function changedFields(spec: PodSpec, old: PodSpec): (keyof PodSpec)[] {
  const gated = (old.schedulingGates ?? []).length > 0;
  const keys = new Set([...Object.keys(spec), ...Object.keys(old)]) as Set<keyof PodSpec>;
  const changed: (keyof PodSpec)[] = [];
  for (const key of keys) {
    if (free.has(key) || spec[key] === old[key]) {
      continue;
    }
    if (key === 'terminationGracePeriodSeconds' && (old[key] ?? 0) < 0 && spec[key] === 1) {
      continue;
    }
    // While gates hold a pod back, its placement may still be narrowed down.
    if (gated && (key === 'nodeSelector' || key === 'affinity')) {
      continue;
    }
    if (!same(spec[key], old[key])) {
      changed.push(key);
    }
  }
  for (const group of ['containers', 'initContainers'] as const) {
    const before = old[group] ?? [];
    const differs = (spec[group] ?? []).some((container, index) => {
      const other = before[index];
      return other !== undefined && !same({ ...container, image: '' }, { ...other, image: '' });
    });
    if (differs) {
      changed.push(group);
    }
  }
  return changed;
}

function describe(changed: readonly (keyof PodSpec)[], spec: PodSpec, old: PodSpec): string {
  return changed
    .map((key) => `- ${key}: ${JSON.stringify(old[key] ?? null)}\n+ ${key}: ${JSON.stringify(spec[key] ?? null)}`)
    .join('\n');
}

// SPDX-License-Identifier: Apache-2.0
// Rules of what a pod asks of the scheduler: tolerations, affinity, topology spread.
import type {
  Affinity,
  PodAffinityTerm,
  PodSpec,
  Toleration,
  TopologySpreadConstraint,
} from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { duplicate, inRange, invalid, messages, notSupported, positive, required } from './fields.ts';
import { validateLabels } from './metadata.ts';
import { dnsLabel, labelValue, qualifiedName } from './names.ts';
import { validateLabelSelector, validateNodeSelectorTerm } from './selectors.ts';

const weight = { least: 1, most: 100 } as const;
const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

export function validateScheduling(spec: PodSpec, path: string): FieldError[] {
  return [
    ...validateLabels(spec.nodeSelector, `${path}.nodeSelector`),
    ...validateTolerations(spec.tolerations, `${path}.tolerations`),
    ...validateAffinity(spec.affinity, `${path}.affinity`),
    ...validateTopologySpread(spec.topologySpreadConstraints, `${path}.topologySpreadConstraints`),
  ];
}

export function validateTolerations(tolerations: readonly Toleration[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, { key = '', operator = '', value = '', effect, tolerationSeconds }] of (
    tolerations ?? []
  ).entries()) {
    const at = `${path}[${index}]`;
    if (key !== '') {
      errors.push(...messages(`${at}.key`, key, qualifiedName(key)));
    } else if (operator !== 'Exists') {
      errors.push(
        invalid(
          `${at}.operator`,
          operator,
          'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        ),
      );
    }
    if (tolerationSeconds !== undefined && effect !== 'NoExecute') {
      errors.push(invalid(`${at}.effect`, effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
    if (operator === 'Equal' || operator === '') {
      errors.push(...messages(`${at}.operator`, value, labelValue(value)));
    } else if (operator === 'Exists') {
      if (value !== '') {
        errors.push(invalid(`${at}.operator`, value, "value must be empty when `operator` is 'Exists'"));
      }
    } else {
      errors.push(notSupported(`${at}.operator`, operator, ['Equal', 'Exists']));
    }
    if (effect !== undefined && (effect as string) !== '' && !effects.includes(effect)) {
      errors.push(notSupported(`${at}.effect`, effect, effects));
    }
  }
  return errors;
}

function validateAffinity(affinity: Affinity | undefined, path: string): FieldError[] {
  if (affinity === undefined) {
    return [];
  }
  const errors: FieldError[] = [];
  const node = affinity.nodeAffinity;
  const hard = node?.requiredDuringSchedulingIgnoredDuringExecution;
  if (hard !== undefined) {
    const at = `${path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`;
    if ((hard.nodeSelectorTerms ?? []).length === 0) {
      errors.push(required(at, 'must have at least one node selector term'));
    }
    for (const [index, term] of (hard.nodeSelectorTerms ?? []).entries()) {
      errors.push(...validateNodeSelectorTerm(term, `${at}[${index}]`));
    }
  }
  for (const [index, term] of (node?.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
    const at = `${path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${index}]`;
    errors.push(...weightRange(term.weight, at), ...validateNodeSelectorTerm(term.preference, `${at}.preference`));
  }
  for (const kind of ['podAffinity', 'podAntiAffinity'] as const) {
    const terms = affinity[kind];
    for (const [index, term] of (terms?.requiredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
      errors.push(
        ...validateAffinityTerm(term, `${path}.${kind}.requiredDuringSchedulingIgnoredDuringExecution[${index}]`),
      );
    }
    for (const [index, term] of (terms?.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
      const at = `${path}.${kind}.preferredDuringSchedulingIgnoredDuringExecution[${index}]`;
      errors.push(
        ...weightRange(term.weight, at),
        ...validateAffinityTerm(term.podAffinityTerm, `${at}.podAffinityTerm`),
      );
    }
  }
  return errors;
}

function weightRange(value: number, at: string): FieldError[] {
  return inRange(`${at}.weight`, value, weight).map((error) => ({ ...error, detail: 'must be in the range 1-100' }));
}

function validateAffinityTerm(term: PodAffinityTerm, at: string): FieldError[] {
  return [
    ...validateLabelSelector(term.labelSelector, `${at}.labelSelector`),
    ...validateLabelSelector(term.namespaceSelector, `${at}.namespaceSelector`),
    ...(term.namespaces ?? []).flatMap((name) => messages(`${at}.namespace`, name, dnsLabel(name))),
    ...((term.topologyKey ?? '') === ''
      ? [required(`${at}.topologyKey`, 'can not be empty')]
      : messages(`${at}.topologyKey`, term.topologyKey, qualifiedName(term.topologyKey))),
  ];
}

function validateTopologySpread(
  constraints: readonly TopologySpreadConstraint[] | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  for (const [index, constraint] of (constraints ?? []).entries()) {
    const at = `${path}[${index}]`;
    errors.push(...positive(`${at}.maxSkew`, constraint.maxSkew));
    errors.push(
      ...((constraint.topologyKey ?? '') === ''
        ? [required(`${at}.topologyKey`, 'can not be empty')]
        : messages(`${at}.topologyKey`, constraint.topologyKey, qualifiedName(constraint.topologyKey))),
    );
    if (!['DoNotSchedule', 'ScheduleAnyway'].includes(constraint.whenUnsatisfiable)) {
      errors.push(
        notSupported(`${at}.whenUnsatisfiable`, constraint.whenUnsatisfiable, ['DoNotSchedule', 'ScheduleAnyway']),
      );
    }
    if (constraint.minDomains !== undefined) {
      errors.push(...positive(`${at}.minDomains`, constraint.minDomains));
      if (constraint.whenUnsatisfiable !== 'DoNotSchedule') {
        errors.push(
          invalid(
            `${at}.minDomains`,
            constraint.minDomains,
            `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${constraint.whenUnsatisfiable}`,
          ),
        );
      }
    }
    for (const policy of ['nodeAffinityPolicy', 'nodeTaintsPolicy'] as const) {
      const value = constraint[policy];
      if (value !== undefined && value !== 'Ignore' && value !== 'Honor') {
        errors.push(notSupported(`${at}.${policy}`, value, ['Ignore', 'Honor']));
      }
    }
    errors.push(...validateLabelSelector(constraint.labelSelector, `${at}.labelSelector`));
    const pair = `{${constraint.topologyKey}, ${constraint.whenUnsatisfiable}}`;
    if (seen.has(pair)) {
      errors.push(duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, pair));
    }
    seen.add(pair);
  }
  return errors;
}

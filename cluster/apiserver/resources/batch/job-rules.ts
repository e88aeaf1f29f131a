// SPDX-License-Identifier: Apache-2.0
// Rules of a job's spec, for jobs and for the templates of cron jobs.
import type { JobSpec } from '../../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../../machinery/selectors.ts';
import type { FieldError, RequestContext } from '../definition.ts';
import { invalid, nonNegative, notSupported, oneOf, positive, required } from '../validation/fields.ts';
import { validatePodTemplate } from '../validation/pod-spec.ts';
import { validateLabelSelector } from '../validation/selectors.ts';

const mostIndexes = 100_000;

/** Without `manual` and `context` the selector is not looked at: a template has none yet. */
export function validateJobSpec(
  spec: JobSpec | undefined,
  path: string,
  selector?: { readonly manual: boolean; readonly context: RequestContext },
): FieldError[] {
  if (spec === undefined) {
    return [required(`${path}.template`)];
  }
  const restart = spec.template?.spec?.restartPolicy;
  const errors = [
    ...nonNegative(`${path}.parallelism`, spec.parallelism),
    ...nonNegative(`${path}.completions`, spec.completions),
    ...positive(`${path}.activeDeadlineSeconds`, spec.activeDeadlineSeconds),
    ...nonNegative(`${path}.backoffLimit`, spec.backoffLimit),
    ...nonNegative(`${path}.backoffLimitPerIndex`, spec.backoffLimitPerIndex),
    ...nonNegative(`${path}.maxFailedIndexes`, spec.maxFailedIndexes),
    ...nonNegative(`${path}.ttlSecondsAfterFinished`, spec.ttlSecondsAfterFinished),
    ...validateIndexed(spec, path),
    ...validatePolicies(spec, path),
    ...validatePodTemplate(spec.template, `${path}.template`),
  ];
  if (restart !== undefined && restart !== 'OnFailure' && restart !== 'Never') {
    errors.push(notSupported(`${path}.template.spec.restartPolicy`, restart, ['OnFailure', 'Never']));
  }
  if (selector !== undefined) {
    errors.push(...validateSelector(spec, path));
  }
  return errors;
}

function validateSelector(spec: JobSpec, path: string): FieldError[] {
  if (spec.selector === undefined) {
    return [required(`${path}.selector`)];
  }
  const errors = validateLabelSelector(spec.selector, `${path}.selector`);
  const labels = spec.template?.metadata?.labels ?? {};
  if (errors.length === 0 && !matchesLabelSelector(spec.selector, labels)) {
    errors.push(invalid(`${path}.template.metadata.labels`, labels, '`selector` does not match template `labels`'));
  }
  return errors;
}

function validateIndexed(spec: JobSpec, path: string): FieldError[] {
  const errors = oneOf(`${path}.completionMode`, spec.completionMode ?? 'NonIndexed', ['NonIndexed', 'Indexed']);
  if (spec.completionMode === 'Indexed') {
    if (spec.completions === undefined) {
      errors.push(required(`${path}.completions`, 'when completion mode is Indexed'));
    }
    if ((spec.parallelism ?? 0) > mostIndexes) {
      errors.push(
        invalid(
          `${path}.parallelism`,
          spec.parallelism,
          `must be less than or equal to ${mostIndexes} when completion mode is Indexed`,
        ),
      );
    }
  } else if (spec.backoffLimitPerIndex !== undefined) {
    errors.push(invalid(`${path}.backoffLimitPerIndex`, spec.backoffLimitPerIndex, 'requires indexed completion mode'));
  }
  if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined) {
    errors.push(required(`${path}.backoffLimitPerIndex`, 'when maxFailedIndexes is specified'));
  }
  return errors;
}

function validatePolicies(spec: JobSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.podReplacementPolicy !== undefined) {
    errors.push(...oneOf(`${path}.podReplacementPolicy`, spec.podReplacementPolicy, ['Failed', 'TerminatingOrFailed']));
  }
  if (spec.podFailurePolicy === undefined) {
    return errors;
  }
  if (spec.template?.spec?.restartPolicy !== 'Never') {
    errors.push(
      invalid(
        `${path}.template.spec.restartPolicy`,
        spec.template?.spec?.restartPolicy,
        'only "Never" is supported when podFailurePolicy is specified',
      ),
    );
  }
  for (const [index, rule] of (spec.podFailurePolicy.rules ?? []).entries()) {
    const at = `${path}.podFailurePolicy.rules[${index}]`;
    errors.push(...oneOf(`${at}.action`, rule.action, ['Count', 'FailIndex', 'FailJob', 'Ignore']));
    if (rule.onExitCodes === undefined && (rule.onPodConditions ?? []).length === 0) {
      errors.push(invalid(at, rule, 'specifying one of OnExitCodes and OnPodConditions is required'));
    }
    if (rule.onExitCodes !== undefined) {
      errors.push(...oneOf(`${at}.onExitCodes.operator`, rule.onExitCodes.operator, ['In', 'NotIn']));
      if ((rule.onExitCodes.values ?? []).length === 0) {
        errors.push(invalid(`${at}.onExitCodes.values`, [], 'at least one value is required'));
      }
    }
  }
  return errors;
}

// SPDX-License-Identifier: Apache-2.0
// Rules of label selectors and node selectors.
import type { LabelSelector, NodeSelectorTerm } from '../../../machinery/api-types.ts';
import { isEmptySelector, matchesLabelSelector } from '../../../machinery/selectors.ts';
import type { FieldError } from '../definition.ts';
import { forbidden, invalid, messages, notSupported, required } from './fields.ts';
import { validateLabels } from './metadata.ts';
import { labelValue, qualifiedName } from './names.ts';

const labelOperators = ['In', 'NotIn', 'Exists', 'DoesNotExist'];
const nodeOperators = [...labelOperators, 'Gt', 'Lt'];

export function validateLabelSelector(selector: LabelSelector | undefined, path: string): FieldError[] {
  if (selector === undefined) {
    return [];
  }
  const errors = validateLabels(selector.matchLabels, `${path}.matchLabels`);
  for (const [index, { key, operator, values }] of (selector.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${index}]`;
    errors.push(...validateOperator(at, operator, { values: values ?? [], supported: labelOperators }));
    errors.push(...messages(`${at}.key`, key, qualifiedName(key)));
    for (const [position, value] of (values ?? []).entries()) {
      errors.push(...messages(`${at}.values[${position}]`, value, labelValue(value)));
    }
  }
  return errors;
}

/** A workload's selector: given, not empty, and selecting the pods of its own template. */
export function validateWorkloadSelector(
  selector: LabelSelector | undefined,
  templateLabels: Readonly<Record<string, string>> | undefined,
  options: { readonly kind: string; readonly path?: string },
): FieldError[] {
  const path = options.path ?? 'spec';
  if (selector === undefined) {
    return [required(`${path}.selector`)];
  }
  const errors = validateLabelSelector(selector, `${path}.selector`);
  if (isEmptySelector(selector)) {
    errors.push(invalid(`${path}.selector`, selector, `empty selector is invalid for ${options.kind}`));
  } else if (errors.length === 0 && !matchesLabelSelector(selector, templateLabels ?? {})) {
    errors.push(
      invalid(
        `${path}.template.metadata.labels`,
        templateLabels ?? null,
        '`selector` does not match template `labels`',
      ),
    );
  }
  return errors;
}

export function validateNodeSelectorTerm(term: NodeSelectorTerm, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, { key, operator, values }] of (term.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${index}]`;
    errors.push(...validateOperator(at, operator, { values: values ?? [], supported: nodeOperators }));
    errors.push(...messages(`${at}.key`, key, qualifiedName(key)));
    if (operator === 'In' || operator === 'NotIn') {
      for (const [position, value] of (values ?? []).entries()) {
        errors.push(...messages(`${at}.values[${position}]`, value, labelValue(value)));
      }
    }
  }
  for (const [index, { key, operator, values }] of (term.matchFields ?? []).entries()) {
    const at = `${path}.matchFields[${index}]`;
    if (operator !== 'In' && operator !== 'NotIn') {
      errors.push(invalid(`${at}.operator`, operator, 'not a valid selector operator'));
    } else if (values?.length !== 1) {
      errors.push(
        required(`${at}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"),
      );
    }
    if (key !== 'metadata.name') {
      errors.push(invalid(`${at}.key`, key, 'not a valid field selector key'));
    }
  }
  return errors;
}

function validateOperator(
  at: string,
  operator: string,
  { values, supported }: { readonly values: readonly string[]; readonly supported: readonly string[] },
): FieldError[] {
  if (!supported.includes(operator)) {
    return supported === nodeOperators
      ? [notSupported(`${at}.operator`, operator, supported)]
      : [invalid(`${at}.operator`, operator, 'not a valid selector operator')];
  }
  if ((operator === 'In' || operator === 'NotIn') && values.length === 0) {
    return [required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'")];
  }
  if ((operator === 'Exists' || operator === 'DoesNotExist') && values.length > 0) {
    return [forbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")];
  }
  if (operator === 'Gt' || operator === 'Lt') {
    if (values.length !== 1) {
      return [required(`${at}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'")];
    }
    if (!/^-?\d+$/.test(values[0] ?? '')) {
      return [invalid(`${at}.values[0]`, values[0], 'must be an integer')];
    }
  }
  return [];
}

// SPDX-License-Identifier: Apache-2.0
// Pod disruption budgets: how many pods of a kind may be evicted at a time.
import type { PodDisruptionBudget } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { integer, text } from '../printing/columns.ts';
import { invalid, oneOf } from '../validation/fields.ts';
import { atMostAll, validateIntOrPercent } from '../validation/rollouts.ts';
import { validateLabelSelector } from '../validation/selectors.ts';

export const podDisruptionBudgets = define<PodDisruptionBudget>({
  group: 'policy',
  plural: 'poddisruptionbudgets',
  kind: 'PodDisruptionBudget',
  namespaced: true,
  shortNames: ['pdb'],
  validate,
  status: true,
  initialStatus: () => ({ disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
  columns: [
    text('Min Available', ({ spec }) => String(spec?.minAvailable ?? 'N/A')),
    text('Max Unavailable', ({ spec }) => String(spec?.maxUnavailable ?? 'N/A')),
    integer('Allowed Disruptions', ({ status }) => status?.disruptionsAllowed),
  ],
});

function validate({ spec = {} }: PodDisruptionBudget): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
    errors.push(invalid('spec', spec, 'minAvailable and maxUnavailable cannot be both set'));
  }
  for (const field of ['minAvailable', 'maxUnavailable'] as const) {
    errors.push(...validateIntOrPercent(spec[field], `spec.${field}`), ...atMostAll(spec[field], `spec.${field}`));
  }
  if (spec.unhealthyPodEvictionPolicy !== undefined) {
    errors.push(
      ...oneOf('spec.unhealthyPodEvictionPolicy', spec.unhealthyPodEvictionPolicy, ['AlwaysAllow', 'IfHealthyBudget']),
    );
  }
  return [...errors, ...validateLabelSelector(spec.selector, 'spec.selector')];
}

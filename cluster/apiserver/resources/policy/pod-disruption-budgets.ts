// SPDX-License-Identifier: Apache-2.0
// Pod disruption budgets.
import type { PodDisruptionBudget } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const podDisruptionBudgets = define<PodDisruptionBudget>({
  group: 'policy',
  plural: 'poddisruptionbudgets',
  kind: 'PodDisruptionBudget',
  namespaced: true,
  shortNames: ['pdb'],
  status: true,
});

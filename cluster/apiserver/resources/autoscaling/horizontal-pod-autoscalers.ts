// SPDX-License-Identifier: Apache-2.0
// Horizontal pod autoscalers.
import type { AutoscalingV2HorizontalPodAutoscaler } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const horizontalPodAutoscalers = define<AutoscalingV2HorizontalPodAutoscaler>({
  group: 'autoscaling',
  plural: 'horizontalpodautoscalers',
  kind: 'HorizontalPodAutoscaler',
  namespaced: true,
  shortNames: ['hpa'],
  categories: ['all'],
  versions: ['v2', 'v1'],
  status: true,
});

// SPDX-License-Identifier: Apache-2.0
// Pod templates.
import type { PodTemplate } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const podTemplates = define<PodTemplate>({
  group: '',
  plural: 'podtemplates',
  kind: 'PodTemplate',
  namespaced: true,
});

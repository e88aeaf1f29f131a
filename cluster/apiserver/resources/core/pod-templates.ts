// SPDX-License-Identifier: Apache-2.0
// Pod templates as objects of their own.
import type { PodTemplate } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import { containerColumns, mapText, text } from '../printing/columns.ts';
import { validatePodTemplate } from '../validation/pod-spec.ts';

export const podTemplates = define<PodTemplate>({
  group: '',
  plural: 'podtemplates',
  kind: 'PodTemplate',
  namespaced: true,
  default: ({ template }) => defaultTemplate(template),
  validate: ({ template }) => validatePodTemplate(template, 'template'),
  columns: [
    ...containerColumns<PodTemplate>(({ template }) => template?.spec?.containers).map((column) => ({
      ...column,
      priority: 0,
    })),
    text('Pod Labels', ({ template }) => mapText(template?.metadata?.labels)),
  ],
});

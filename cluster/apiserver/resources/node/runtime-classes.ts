// SPDX-License-Identifier: Apache-2.0
// Runtime classes: which handler of the container runtime runs a pod.
import type { RuntimeClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { immutable, messages, required } from '../validation/fields.ts';
import { dnsLabel } from '../validation/names.ts';
import { validateResourceList } from '../validation/resources.ts';

export const runtimeClasses = define<RuntimeClass>({
  group: 'node.k8s.io',
  plural: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
  validate: ({ handler, overhead }) => [
    ...((handler ?? '') === '' ? [required('handler')] : messages('handler', handler, dnsLabel(handler))),
    ...validateResourceList(overhead?.podFixed, 'overhead.podFixed'),
  ],
  validateUpdate: (value, old) => immutable('handler', value.handler, old.handler),
  columns: [text('Handler', ({ handler }) => handler)],
});

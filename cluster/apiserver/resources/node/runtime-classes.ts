// SPDX-License-Identifier: Apache-2.0
// Runtime classes.
import type { RuntimeClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const runtimeClasses = define<RuntimeClass>({
  group: 'node.k8s.io',
  plural: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
});

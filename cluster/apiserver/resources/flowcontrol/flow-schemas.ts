// SPDX-License-Identifier: Apache-2.0
// FlowSchema objects.
import type { FlowSchema } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const flowSchemas = define<FlowSchema>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'flowschemas',
  kind: 'FlowSchema',
  namespaced: false,
  status: true,
});

// SPDX-License-Identifier: Apache-2.0
// CSI nodes.
import type { CSINode } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const csiNodes = define<CSINode>({
  group: 'storage.k8s.io',
  plural: 'csinodes',
  kind: 'CSINode',
  namespaced: false,
});

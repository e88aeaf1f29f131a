// SPDX-License-Identifier: Apache-2.0
// CSI nodes: which storage drivers run on a node.
import type { CSINode } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer } from '../printing/columns.ts';

export const csiNodes = define<CSINode>({
  group: 'storage.k8s.io',
  plural: 'csinodes',
  kind: 'CSINode',
  namespaced: false,
  columns: [integer('Drivers', ({ spec }) => spec.drivers?.length)],
});

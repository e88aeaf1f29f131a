// SPDX-License-Identifier: Apache-2.0
// Nodes.
import type { Node } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const nodes = define<Node>({
  group: '',
  plural: 'nodes',
  kind: 'Node',
  namespaced: false,
  shortNames: ['no'],
  status: true,
});

// SPDX-License-Identifier: Apache-2.0
// Component statuses.
import type { ComponentStatus } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const componentStatuses = define<ComponentStatus>({
  group: '',
  plural: 'componentstatuses',
  kind: 'ComponentStatus',
  namespaced: false,
  shortNames: ['cs'],
  verbs: ['get', 'list'],
});

// SPDX-License-Identifier: Apache-2.0
// PriorityLevelConfiguration objects.
import type { PriorityLevelConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const priorityLevelConfigurations = define<PriorityLevelConfiguration>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'prioritylevelconfigurations',
  kind: 'PriorityLevelConfiguration',
  namespaced: false,
  status: true,
});

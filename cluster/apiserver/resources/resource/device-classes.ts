// SPDX-License-Identifier: Apache-2.0
// DeviceClass objects.
import type { DeviceClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const deviceClasses = define<DeviceClass>({
  group: 'resource.k8s.io',
  plural: 'deviceclasses',
  kind: 'DeviceClass',
  namespaced: false,
});

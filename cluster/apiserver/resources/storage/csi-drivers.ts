// SPDX-License-Identifier: Apache-2.0
// CSI drivers.
import type { CSIDriver } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const csiDrivers = define<CSIDriver>({
  group: 'storage.k8s.io',
  plural: 'csidrivers',
  kind: 'CSIDriver',
  namespaced: false,
});

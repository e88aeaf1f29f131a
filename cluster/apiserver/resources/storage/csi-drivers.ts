// SPDX-License-Identifier: Apache-2.0
// CSI drivers: what a storage driver can do and wants to be told.
import type { CSIDriver } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { boolean, text } from '../printing/columns.ts';

export const csiDrivers = define<CSIDriver>({
  group: 'storage.k8s.io',
  plural: 'csidrivers',
  kind: 'CSIDriver',
  namespaced: false,
  default(driver) {
    driver.spec ??= {};
    const { spec } = driver;
    spec.attachRequired ??= true;
    spec.podInfoOnMount ??= false;
    spec.storageCapacity ??= false;
    spec.fsGroupPolicy ??= 'ReadWriteOnceWithFSType';
    if ((spec.volumeLifecycleModes ?? []).length === 0) {
      spec.volumeLifecycleModes = ['Persistent'];
    }
    spec.requiresRepublish ??= false;
    spec.seLinuxMount ??= false;
  },
  columns: [
    boolean('AttachRequired', ({ spec }) => spec.attachRequired ?? true),
    boolean('PodInfoOnMount', ({ spec }) => spec.podInfoOnMount),
    boolean('StorageCapacity', ({ spec }) => spec.storageCapacity),
    text('TokenRequests', ({ spec }) =>
      (spec.tokenRequests ?? []).length === 0
        ? '<unset>'
        : (spec.tokenRequests ?? []).map(({ audience }) => audience).join(','),
    ),
    boolean('RequiresRepublish', ({ spec }) => spec.requiresRepublish),
    text('Modes', ({ spec }) => (spec.volumeLifecycleModes ?? []).join(',')),
  ],
});

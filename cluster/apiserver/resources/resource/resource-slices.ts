// SPDX-License-Identifier: Apache-2.0
// ResourceSlice objects.
import type { ResourceSlice } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const resourceSlices = define<ResourceSlice>({
  group: 'resource.k8s.io',
  plural: 'resourceslices',
  kind: 'ResourceSlice',
  namespaced: false,
});

// SPDX-License-Identifier: Apache-2.0
// Endpoint slices.
import type { EndpointSlice } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const endpointSlices = define<EndpointSlice>({
  group: 'discovery.k8s.io',
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
});

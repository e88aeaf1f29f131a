// SPDX-License-Identifier: Apache-2.0
// ResourceClaim objects.
import type { ResourceV1ResourceClaim } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const resourceClaims = define<ResourceV1ResourceClaim>({
  group: 'resource.k8s.io',
  plural: 'resourceclaims',
  kind: 'ResourceClaim',
  namespaced: true,
  status: true,
});

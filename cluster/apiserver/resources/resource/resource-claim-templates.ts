// SPDX-License-Identifier: Apache-2.0
// ResourceClaimTemplate objects.
import type { ResourceClaimTemplate } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const resourceClaimTemplates = define<ResourceClaimTemplate>({
  group: 'resource.k8s.io',
  plural: 'resourceclaimtemplates',
  kind: 'ResourceClaimTemplate',
  namespaced: true,
});

// SPDX-License-Identifier: Apache-2.0
// Network policies.
import type { NetworkPolicy } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const networkPolicies = define<NetworkPolicy>({
  group: 'networking.k8s.io',
  plural: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
  shortNames: ['netpol'],
});

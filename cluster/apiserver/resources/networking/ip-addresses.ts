// SPDX-License-Identifier: Apache-2.0
// IP addresses.
import type { IPAddress } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const ipAddresses = define<IPAddress>({
  group: 'networking.k8s.io',
  plural: 'ipaddresses',
  kind: 'IPAddress',
  namespaced: false,
  shortNames: ['ip'],
});

// SPDX-License-Identifier: Apache-2.0
// Secrets.
import type { Secret } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const secrets = define<Secret>({
  group: '',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
});

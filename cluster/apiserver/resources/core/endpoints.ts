// SPDX-License-Identifier: Apache-2.0
// Endpoints.
import type { Endpoints } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const endpoints = define<Endpoints>({
  group: '',
  plural: 'endpoints',
  kind: 'Endpoints',
  namespaced: true,
  shortNames: ['ep'],
});

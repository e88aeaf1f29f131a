// SPDX-License-Identifier: Apache-2.0
// Limit ranges.
import type { LimitRange } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const limitRanges = define<LimitRange>({
  group: '',
  plural: 'limitranges',
  kind: 'LimitRange',
  namespaced: true,
  shortNames: ['limits'],
});

// SPDX-License-Identifier: Apache-2.0
// Jobs.
import type { Job } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const jobs = define<Job>({
  group: 'batch',
  plural: 'jobs',
  kind: 'Job',
  namespaced: true,
  categories: ['all'],
  status: true,
});

// SPDX-License-Identifier: Apache-2.0
// Cron jobs.
import type { CronJob } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const cronJobs = define<CronJob>({
  group: 'batch',
  plural: 'cronjobs',
  kind: 'CronJob',
  namespaced: true,
  shortNames: ['cj'],
  categories: ['all'],
  status: true,
});

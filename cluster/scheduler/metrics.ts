// SPDX-License-Identifier: Apache-2.0
// The scheduler's metrics, named as upstream names them.
import { exponentialBuckets } from '../machinery/metrics.ts';
import type { MetricsRegistry } from '../machinery/metrics.ts';

export interface SchedulerMetrics {
  /** @param seconds from taking the pod off the queue to the end of the attempt. */
  attempt(result: 'scheduled' | 'unschedulable' | 'error', seconds: number): void;
  queue(sizes: { readonly active: number; readonly backoff: number; readonly unschedulable: number }): void;
}

export function schedulerMetrics(registry: MetricsRegistry): SchedulerMetrics {
  const attempts = registry.counter('scheduler_schedule_attempts_total', 'Attempts to schedule pods, by result.');
  const duration = registry.histogram(
    'scheduler_scheduling_attempt_duration_seconds',
    'Scheduling attempt latency: algorithm and binding.',
    exponentialBuckets(0.001, 2, 15),
  );
  const pending = registry.gauge('scheduler_pending_pods', 'Pending pods, by the queue they are in.');
  return {
    attempt: (result, seconds) => {
      attempts.add(1, { result, profile: 'default-scheduler' });
      duration.observe(seconds, { result, profile: 'default-scheduler' });
    },
    queue: ({ active, backoff, unschedulable }) => {
      pending.set(active, { queue: 'active' });
      pending.set(backoff, { queue: 'backoff' });
      pending.set(unschedulable, { queue: 'unschedulable' });
    },
  };
}

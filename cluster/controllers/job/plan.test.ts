// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { Job, JobStatus, Pod } from '../../machinery/api-types.ts';
import { formatIndexes, parseIndexes } from './indexes.ts';
import { planJob, trackingFinalizer } from './plan.ts';

const now = Date.parse('2026-01-01T00:00:00Z');
const indexKey = 'batch.kubernetes.io/job-completion-index';

function job(spec: object, status: JobStatus = {}): Job {
  return {
    metadata: { name: 'j', namespace: 'x', uid: 'u' },
    spec: {
      template: { spec: { containers: [], restartPolicy: 'Never' } },
      parallelism: 2,
      completions: 4,
      backoffLimit: 2,
      ...spec,
    },
    status: { startTime: new Date(now - 60_000).toISOString(), ...status },
  };
}

function pod(
  name: string,
  phase: 'Running' | 'Succeeded' | 'Failed',
  options: { index?: number; tracked?: boolean; exit?: number; going?: boolean; failures?: number } = {},
): Pod {
  const { index, tracked = true, exit = 1, going = false, failures } = options;
  return {
    metadata: {
      name,
      namespace: 'x',
      uid: name,
      ...(tracked && { finalizers: [trackingFinalizer] }),
      ...(going && { deletionTimestamp: 'now' }),
      annotations: {
        ...(index !== undefined && { [indexKey]: String(index) }),
        ...(failures !== undefined && { 'batch.kubernetes.io/job-index-failure-count': String(failures) }),
      },
    },
    status: {
      phase,
      ...(phase === 'Failed' && {
        containerStatuses: [
          {
            name: 'c',
            image: '',
            imageID: '',
            ready: false,
            restartCount: 0,
            state: { terminated: { exitCode: exit } },
          },
        ],
      }),
    },
  };
}

describe('controllers/job plan', () => {
  it('creates up to parallelism, and no more than is still missing', () => {
    expect(planJob({ job: job({}), pods: [], now }).create).to.equal(2);
    expect(planJob({ job: job({}, { succeeded: 3 }), pods: [], now }).create).to.equal(1);
    expect(planJob({ job: job({}, { succeeded: 3 }), pods: [pod('a', 'Running')], now }).create).to.equal(0);
    expect(
      planJob({ job: job({ parallelism: 1 }), pods: [pod('a', 'Running'), pod('b', 'Running')], now }).remove,
    ).to.have.length(1);
  });

  it('counts a finished pod exactly once, through the uncounted list', () => {
    const first = planJob({ job: job({}), pods: [pod('a', 'Succeeded'), pod('b', 'Failed')], now });
    expect(first.status).to.deep.include({ uncountedTerminatedPods: { succeeded: ['a'], failed: ['b'] } });
    expect(first.release.map(({ metadata }) => metadata.name)).to.deep.equal(['a', 'b']);
    // The finalizer patch of `a` has been seen, that of `b` has not.
    const second = planJob({
      job: job({}, first.status),
      pods: [pod('a', 'Succeeded', { tracked: false }), pod('b', 'Failed')],
      now,
    });
    expect(second.status).to.deep.include({ succeeded: 1, uncountedTerminatedPods: { failed: ['b'] } });
    const third = planJob({ job: job({}, second.status), pods: [], now });
    expect(third.status).to.deep.include({ succeeded: 1, failed: 1, uncountedTerminatedPods: {} });
    expect([first.newFailures, second.newFailures, third.newFailures]).to.deep.equal([1, 0, 0]);
  });

  const endings: [name: string, job: Job, pods: Pod[], reason: string | undefined][] = [
    ['completes', job({}, { succeeded: 4 }), [], 'CompletionsReached'],
    [
      'completes a work queue when one succeeded and all ended',
      job({ completions: undefined }, { succeeded: 1 }),
      [],
      'CompletionsReached',
    ],
    [
      'does not end a work queue that still runs',
      job({ completions: undefined }, { succeeded: 1 }),
      [pod('a', 'Running')],
      undefined,
    ],
    ['gives up after too many failures', job({}, { failed: 3 }), [], 'BackoffLimitExceeded'],
    ['keeps trying up to the limit', job({}, { failed: 2 }), [], undefined],
    ['ends at its deadline', job({ activeDeadlineSeconds: 60 }), [pod('a', 'Running')], 'DeadlineExceeded'],
    [
      'fails at once by policy',
      job({ podFailurePolicy: { rules: [{ action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } }] } }),
      [pod('a', 'Failed', { exit: 42 })],
      'PodFailurePolicy',
    ],
    [
      'does not count what the policy ignores',
      job({
        backoffLimit: 0,
        podFailurePolicy: { rules: [{ action: 'Ignore', onExitCodes: { operator: 'In', values: [7] } }] },
      }),
      [pod('a', 'Failed', { exit: 7 })],
      undefined,
    ],
    [
      'succeeds by policy',
      job({ completionMode: 'Indexed', successPolicy: { rules: [{ succeededIndexes: '1' }] } }),
      [pod('a', 'Succeeded', { index: 1 })],
      'SuccessPolicy',
    ],
    [
      'fails when every index has ended and one failed',
      job(
        { completionMode: 'Indexed', completions: 2, backoffLimit: 99, backoffLimitPerIndex: 0 },
        { completedIndexes: '0' },
      ),
      [pod('a', 'Failed', { index: 1 })],
      'FailedIndexes',
    ],
  ];
  for (const [name, one, pods, reason] of endings) {
    it(name, () => void expect(planJob({ job: one, pods, now }).ending?.reason).to.equal(reason));
  }

  it('creates the lowest indexes that are neither done, running nor given up', () => {
    const one = job(
      { completionMode: 'Indexed', completions: 6, parallelism: 4, backoffLimit: 99, backoffLimitPerIndex: 1 },
      { completedIndexes: '0' },
    );
    const plan = planJob({
      job: one,
      pods: [
        pod('a', 'Running', { index: 1 }),
        pod('b', 'Failed', { index: 2, failures: 0 }),
        pod('c', 'Failed', { index: 3, failures: 1 }),
      ],
      now,
    });
    expect(plan.indexes).to.deep.equal([
      { index: 2, failures: 1 },
      { index: 4, failures: 0 },
      { index: 5, failures: 0 },
    ]);
    expect(plan.status.failedIndexes).to.equal('3');
  });

  it('removes all pods of a suspended job and creates none', () => {
    const plan = planJob({ job: job({ suspend: true }), pods: [pod('a', 'Running')], now });
    expect([plan.create, plan.remove.length]).to.deep.equal([0, 1]);
  });

  it('keeps any set of indexes through its text', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(300)), (indexes) => {
        const text = formatIndexes(new Set(indexes));
        expect([...parseIndexes(text, 301)].toSorted((a, b) => a - b)).to.deep.equal(indexes.toSorted((a, b) => a - b));
      }),
    );
    expect(formatIndexes(new Set([0, 2, 3, 4, 7, 8]))).to.equal('0,2-4,7,8');
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('1', '9', '-', ',', ' ', 'x') }),
        (text) => void parseIndexes(text, 50),
      ),
    );
  });
});

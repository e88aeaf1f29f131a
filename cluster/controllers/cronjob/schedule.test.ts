// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { CronJob, Job } from '../../machinery/api-types.ts';
import { planCronJob } from './plan.ts';
import { parseSchedule } from './schedule.ts';

describe('controllers/cronjob schedule', () => {
  const cases: [schedule: string, after: string, next: string, zone?: string][] = [
    ['* * * * *', '2026-01-01T00:00:30Z', '2026-01-01T00:01:00Z'],
    ['*/15 * * * *', '2026-01-01T00:15:00Z', '2026-01-01T00:30:00Z'],
    ['5-10/5,50 3 * * *', '2026-01-01T03:10:00Z', '2026-01-01T03:50:00Z'],
    ['0 0 29 2 *', '2026-01-01T00:00:00Z', '2028-02-29T00:00:00Z'],
    ['0 12 * * MON-FRI', '2026-01-02T12:00:00Z', '2026-01-05T12:00:00Z'],
    ['0 0 13 * FRI', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'],
    ['0 0 * * 7', '2026-01-01T00:00:00Z', '2026-01-04T00:00:00Z'],
    ['@monthly', '2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'],
    ['@every 90m', '2026-01-01T00:00:00Z', '2026-01-01T01:30:00Z'],
    ['0 9 * * *', '2026-01-01T00:00:00Z', '2026-01-01T08:00:00Z', 'Europe/Berlin'],
    ['0 9 * * *', '2026-07-01T00:00:00Z', '2026-07-01T07:00:00Z', 'Europe/Berlin'],
    ['30 2 * * *', '2026-03-29T00:00:00Z', '2026-03-30T00:30:00Z', 'Europe/Berlin'],
    ['0 0 * * *', '2026-01-01T00:00:00Z', '2026-01-01T18:15:00Z', 'Asia/Kathmandu'],
  ];
  for (const [schedule, after, next, zone] of cases) {
    it(`${schedule} after ${after} ${zone ?? ''} is ${next}`, () => {
      const found = parseSchedule(schedule, zone).next(Date.parse(after));
      expect(new Date(found ?? 0).toISOString()).to.equal(next.replace('Z', '.000Z'));
    });
  }

  it('refuses what is no schedule, and has no next for a day that never comes', () => {
    for (const text of [
      '',
      '* * * *',
      '60 * * * *',
      '* * 0 * *',
      '*/0 * * * *',
      '5-1 * * * *',
      'x * * * *',
      '@often',
      '@every 5',
      '1,, * * * *',
    ]) {
      expect(() => parseSchedule(text), text).to.throw();
    }
    expect(() => parseSchedule('* * * * *', 'Moon/Base')).to.throw('unknown time zone Moon/Base');
    expect(parseSchedule('0 0 31 2 *').next(0)).to.equal(undefined);
  });

  it('always fires later than asked, and skips no minute that matches', () => {
    const field = (low: number, high: number) =>
      fc.oneof(
        fc.constant('*'),
        fc.integer({ min: low, max: high }).map(String),
        fc.integer({ min: 2, max: 20 }).map((step) => `*/${step}`),
      );
    const zone = fc.constantFrom('UTC', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata');
    const time = fc.integer({ min: Date.parse('2026-01-01'), max: Date.parse('2026-12-31') });
    fc.assert(
      fc.property(field(0, 59), field(0, 23), zone, time, (minute, hour, timeZone, after) => {
        const schedule = parseSchedule(`${minute} ${hour} * * *`, timeZone);
        const next = schedule.next(after) ?? 0;
        expect(next).to.be.greaterThan(after);
        // Asking from any moment in between gives the same answer.
        expect(schedule.next(Math.floor((after + next - 1) / 2))).to.equal(next);
      }),
      { numRuns: 200 },
    );
  });
});

describe('controllers/cronjob plan', () => {
  const now = Date.parse('2026-01-01T10:00:30Z');
  const cronJob = (spec: object, last = '2026-01-01T09:59:00Z'): CronJob => ({
    metadata: { name: 'c', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { schedule: '* * * * *', jobTemplate: {}, ...spec },
    status: { lastScheduleTime: last },
  });
  const active: Job[] = [{ metadata: { name: 'j' } }];
  const plan = (cron: CronJob, running: Job[] = []) =>
    planCronJob(cron, parseSchedule('* * * * *'), { active: running, now });

  it('starts what is due, once', () => {
    expect(plan(cronJob({})).start).to.equal(Date.parse('2026-01-01T10:00:00Z'));
    expect(plan(cronJob({}, '2026-01-01T10:00:00Z')).start).to.equal(undefined);
    expect(plan(cronJob({ suspend: true })).start).to.equal(undefined);
  });

  it('follows the concurrency policy', () => {
    expect(plan(cronJob({ concurrencyPolicy: 'Forbid' }), active)).to.include({ start: undefined, skipped: 'active' });
    expect(plan(cronJob({ concurrencyPolicy: 'Replace' }), active).replace).to.equal(active);
    expect(plan(cronJob({}), active).start).not.to.equal(undefined);
  });

  it('starts only the latest of many missed times, and none past the deadline', () => {
    expect(plan(cronJob({}, '2025-01-01T00:00:00Z'))).to.include({
      start: Date.parse('2026-01-01T10:00:00Z'),
      tooMany: true,
    });
    expect(plan(cronJob({ startingDeadlineSeconds: 10 }, '2026-01-01T09:00:00Z')).start).to.equal(undefined);
  });
});

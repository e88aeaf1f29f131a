// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { scheduleError } from './schedules.ts';

describe('cron schedules', () => {
  for (const good of ['*/5 * * * *', '0 9-17 * jan-mar MON,wed', '@hourly', '@every 1h30m', '? 0 1 1 0']) {
    it(`takes ${good}`, () => {
      expect(scheduleError(good)).to.equal(undefined);
    });
  }

  const wrong: readonly (readonly [schedule: string, message: string])[] = [
    ['* * *', 'expected exactly 5 fields, found 3: [* * *]'],
    ['60 * * * *', 'end of range (60) above maximum (59): 60'],
    ['5-1 * * * *', 'beginning of range (5) beyond end of range (1): 5-1'],
    ['* * * * */0', 'step of range should be a positive number: */0'],
    ['@never', 'unrecognized descriptor: @never'],
  ];
  for (const [schedule, message] of wrong) {
    it(`refuses ${schedule}`, () => {
      expect(scheduleError(schedule)).to.equal(message);
    });
  }

  it('answers every text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => scheduleError(text) === undefined || true),
      { numRuns: 2000 },
    );
  });
});

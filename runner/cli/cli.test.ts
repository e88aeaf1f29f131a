// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { Problem } from '../problem.ts';
import { exitCodeOf } from './exit-code.ts';
import { compareRuns, type ComparedCase } from './diff.ts';
import { parseDuration } from './run-options.ts';

it('exit codes are 0, 1, 2, 3', () => {
  expect((['passed', 'failed', 'error', 'inconclusive'] as const).map(exitCodeOf)).to.deep.equal([0, 1, 2, 3]);
});

describe('parseDuration', () => {
  const durations: [string, number][] = [
    ['90', 90_000],
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['250ms', 250],
  ];
  for (const [text, ms] of durations) it(text, () => expect(parseDuration('--timeout', text)).to.equal(ms));
  for (const text of ['', '0', 'soon', '5 m', '-3s', '3d', 's']) {
    it(`refuses "${text}"`, () =>
      expect(() => parseDuration('--timeout', text)).to.throw(Problem, `--timeout ${text}`));
  }
});

describe('compareRuns', () => {
  const run = (cases: Record<string, [string, number?]>): Map<string, ComparedCase> =>
    new Map(Object.entries(cases).map(([name, [status, durationMs]]) => [name, { status, durationMs }]));

  it('tells what broke, what was repaired, what is new, gone and slower', () => {
    const before = run({
      a: ['passed'],
      b: ['failed'],
      c: ['passed', 1000],
      d: ['passed', 1000],
      e: ['passed'],
      f: ['failed'],
    });
    const after = run({
      a: ['failed'],
      b: ['passed'],
      c: ['passed', 3000],
      d: ['passed', 1900],
      f: ['inconclusive'],
      g: ['passed'],
    });
    expect(compareRuns(before, after)).to.deep.equal({
      worse: true,
      lines: [
        'Passed before, not now:',
        '  a: passed -> failed',
        'Passes now:',
        '  b: failed -> passed',
        'Otherwise changed:',
        '  f: failed -> inconclusive',
        '  new: g (passed)',
        '  gone: e (was passed)',
        'Slower:',
        '  c: 1000 ms -> 3000 ms',
      ],
    });
  });

  it('is not worse when nothing broke, or something was only skipped', () => {
    expect(compareRuns(run({ a: ['passed'] }), run({ a: ['passed'] }))).to.deep.equal({
      worse: false,
      lines: ['no difference in 1 cases'],
    });
    expect(compareRuns(run({ a: ['passed'] }), run({ a: ['skipped'] }))).to.have.property('worse', false);
  });
});

// SPDX-License-Identifier: Apache-2.0
// Mocha's reporter for `npm test`: one line per file's suite, failures in full as they happen, and the counts written
// to the file that PLUMB_TEST_COUNTS names, where test.ts adds them up over all runs of mocha.

import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';

const { EVENT_RUN_END, EVENT_SUITE_BEGIN, EVENT_SUITE_END, EVENT_TEST_FAIL, EVENT_TEST_PASS, EVENT_TEST_PENDING } =
  Mocha.Runner.constants;

export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

export default class CountingReporter {
  readonly #total: TestCounts = { passed: 0, failed: 0, skipped: 0 };
  #suite: TestCounts = { passed: 0, failed: 0, skipped: 0 };
  #tookMs = 0;
  /** Suites that have begun and not ended; with --parallel, mocha delivers the events of one file in one go. */
  #depth = 0;

  constructor(runner: Mocha.Runner) {
    runner.on(EVENT_SUITE_BEGIN, (suite) => {
      if (suite.root) return;
      this.#depth += 1;
      if (this.#depth > 1) return;
      this.#suite = { passed: 0, failed: 0, skipped: 0 };
      this.#tookMs = 0;
    });
    runner.on(EVENT_TEST_PASS, (test) => {
      this.#count('passed');
      this.#tookMs += test.duration ?? 0;
    });
    runner.on(EVENT_TEST_PENDING, () => this.#count('skipped'));
    runner.on(EVENT_TEST_FAIL, (test, error: Error) => {
      this.#count('failed');
      this.#tookMs += test.duration ?? 0;
      process.stdout.write(
        `  FAIL  ${test.fullTitle()}${test.file === undefined ? '' : `\n        ${test.file}`}\n${describe(error)}\n`,
      );
    });
    runner.on(EVENT_SUITE_END, (suite) => {
      if (suite.root) return;
      this.#depth -= 1;
      if (this.#depth === 0) process.stdout.write(this.#line(suite.title));
    });
    runner.on(EVENT_RUN_END, () => {
      const path = process.env['PLUMB_TEST_COUNTS'];
      if (path !== undefined) writeFileSync(path, JSON.stringify(this.#total));
    });
  }

  #count(kind: keyof TestCounts): void {
    this.#total[kind] += 1;
    this.#suite[kind] += 1;
  }

  #line(title: string): string {
    const { passed, failed, skipped } = this.#suite;
    const skips = skipped === 0 ? '' : `, ${skipped} skipped`;
    const took = (this.#tookMs / 1000).toFixed(1);
    return `  ${failed === 0 ? 'ok   ' : 'FAIL '} ${title}: ${passed} passed${failed === 0 ? '' : `, ${failed} failed`}${skips} (${took} s)\n`;
  }
}

function describe(error: Error & { actual?: unknown; expected?: unknown }): string {
  const text = error.stack ?? error.message ?? String(error);
  const values =
    error.actual === undefined && error.expected === undefined
      ? ''
      : `\n  actual:   ${show(error.actual)}\n  expected: ${show(error.expected)}`;
  return `${text}${values}`.replaceAll(/^/gm, '        ');
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text === undefined ? String(value) : text.length > 2000 ? `${text.slice(0, 2000)}...` : text;
}

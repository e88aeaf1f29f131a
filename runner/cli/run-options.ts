// SPDX-License-Identifier: Apache-2.0
/** Turns the flags of `plumb run` into checked options. Every refusal names the flag, the value and what would do. Pure. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseMode } from '../plan/plan.ts';
import type { Mode } from '../../suites/case.ts';
import { Problem } from '../problem.ts';

/** As commander hands them over: texts. */
export interface RunFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly mode: string;
  readonly focus?: string;
  readonly skip?: string;
  readonly rerunFailed?: string;
  readonly parallel: string;
  readonly timeout?: string;
  readonly apiWait: string;
  readonly seed: string;
  readonly random: string;
  readonly flakeBudget?: string;
  readonly image?: string;
  readonly output: string;
  readonly suites?: string;
  readonly nodeProbes: boolean;
  readonly cleanup: boolean;
  readonly snapshot: boolean;
  readonly list?: boolean;
  readonly dryRun?: boolean;
  readonly verbose?: boolean;
}

export interface RunOptions {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly mode: Mode;
  readonly focus: string | undefined;
  readonly skip: string | undefined;
  readonly rerunFailed: string | undefined;
  readonly parallel: number;
  /** For the whole run. */
  readonly timeoutMs: number | undefined;
  /** How long to wait for an API server that has gone away. */
  readonly apiWaitMs: number;
  /** First seed of random cases, and how many there are. */
  readonly seed: number;
  readonly random: number;
  /** `3` or `5%`. */
  readonly flakeBudget: string | undefined;
  readonly image: string;
  readonly output: string;
  /** Folder with `<area>/*.cases.ts`. */
  readonly suites: string;
  readonly nodeProbes: boolean;
  readonly cleanup: boolean;
  readonly snapshot: boolean;
  readonly verbose: boolean;
}

const parallelMax = 64;
const seedMax = 2 ** 31;
const randomMax = 100_000;
const ownSuites = fileURLToPath(new URL('../../suites/', import.meta.url));

export function runOptions(flags: RunFlags, toolVersion: string): RunOptions {
  if (flags.rerunFailed !== undefined && flags.focus !== undefined) {
    throw new Problem(
      '--rerun-failed and --focus both say which cases to run',
      'Give one of them; --skip goes with either.',
    );
  }
  return {
    kubeconfig: flags.kubeconfig,
    context: flags.context,
    mode: parseMode(flags.mode),
    focus: flags.focus,
    skip: flags.skip,
    rerunFailed: flags.rerunFailed,
    parallel: parseParallel(flags.parallel),
    timeoutMs: flags.timeout === undefined ? undefined : parseDuration('--timeout', flags.timeout),
    apiWaitMs: parseDuration('--api-wait', flags.apiWait),
    seed: parseWhole('--seed', flags.seed, seedMax),
    random: parseWhole('--random', flags.random, randomMax),
    flakeBudget: flags.flakeBudget === undefined ? undefined : parseBudget(flags.flakeBudget),
    image: flags.image ?? `plumbline.local/probe:${toolVersion}`,
    output: flags.output,
    suites: flags.suites === undefined ? ownSuites : resolve(flags.suites),
    nodeProbes: flags.nodeProbes,
    cleanup: flags.cleanup,
    snapshot: flags.snapshot,
    verbose: flags.verbose === true,
  };
}

function parseWhole(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > most)
    throw new Problem(`${flag} ${text}: not a whole number from 0 to ${most}`, `Try ${flag} 100.`);
  return value;
}

function parseBudget(text: string): string {
  if (!/^(\d+|\d+(\.\d+)?%)$/.test(text))
    throw new Problem(
      `--flake-budget ${text}: neither a number of cases nor a share of them`,
      'Write --flake-budget 3, or --flake-budget 2%.',
    );
  return text;
}

function parseParallel(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > parallelMax) {
    throw new Problem(`--parallel ${text}: not a whole number from 1 to ${parallelMax}`, 'Try --parallel 4.');
  }
  return value;
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `90s`, `15m`, `1h30m`; a bare number is seconds. */
export function parseDuration(flag: string, text: string): number {
  if (/^\d+$/.test(text) && Number(text) > 0) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const total = parts.reduce((sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ''] ?? 0), 0);
  if (parts.map(([whole]) => whole).join('') !== text || total <= 0) {
    throw new Problem(`${flag} ${text}: not a duration`, `Write it like ${flag} 90s, 15m or 1h30m.`);
  }
  return Math.round(total);
}

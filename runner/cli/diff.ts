// SPDX-License-Identifier: Apache-2.0
/** `plumb diff`: what changed from one run to another, for any two archives: newly failing, repaired, new, gone, slower. */
import type { Command } from 'commander';
import { Problem } from '../problem.ts';
import { leavesOf, pluginsOf, readItemTree } from '../results/item-tree.ts';
import { ownRecord } from '../results/own-record.ts';
import { openResults, type ResultSource } from '../results/result-source.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf } from './exit-code.ts';

export interface ComparedCase {
  readonly status: string;
  readonly durationMs: number | undefined;
}

export type ComparedRun = ReadonlyMap<string, ComparedCase>;

export function addCommands(program: Command, { finish }: CommandContext): void {
  program
    .command('diff')
    .description('compare two runs; exits with 1 if something passed before and does not now')
    .argument('<before>', 'a results directory or a Sonobuoy tarball')
    .argument('<after>', 'another')
    .action(async (before: string, after: string) => {
      const { lines, worse } = compareRuns(await compared(before), await compared(after));
      process.stdout.write(`${lines.join('\n')}\n`);
      finish(exitCodeOf(worse ? 'failed' : 'passed'));
    });
}

/** A case got slower if it takes half as long again, and a second longer. */
const slowerFactor = 1.5;
const slowerMs = 1000;

export function compareRuns(
  before: ComparedRun,
  after: ComparedRun,
): { readonly lines: string[]; readonly worse: boolean } {
  const broken: string[] = [];
  const repaired: string[] = [];
  const changed: string[] = [];
  const slower: string[] = [];
  for (const [name, now] of after) {
    const then = before.get(name);
    if (then === undefined) changed.push(`new: ${name} (${now.status})`);
    else if (then.status === 'passed' && now.status !== 'passed') broken.push(`${name}: passed -> ${now.status}`);
    else if (then.status !== 'passed' && now.status === 'passed') repaired.push(`${name}: ${then.status} -> passed`);
    else if (then.status !== now.status) changed.push(`${name}: ${then.status} -> ${now.status}`);
    else if (isSlower(then, now)) slower.push(`${name}: ${then.durationMs} ms -> ${now.durationMs} ms`);
  }
  for (const [name, then] of before) if (!after.has(name)) changed.push(`gone: ${name} (was ${then.status})`);
  const section = (title: string, items: readonly string[]): string[] =>
    items.length === 0 ? [] : [`${title}:`, ...items.map((item) => `  ${item}`)];
  const lines = [
    ...section('Passed before, not now', broken),
    ...section('Passes now', repaired),
    ...section('Otherwise changed', changed),
    ...section('Slower', slower),
  ];
  const worse = broken.some((line) => !line.endsWith('-> skipped'));
  return { lines: lines.length === 0 ? [`no difference in ${after.size} cases`] : lines, worse };
}

function isSlower(then: ComparedCase, now: ComparedCase): boolean {
  if (then.durationMs === undefined || now.durationMs === undefined) return false;
  return now.durationMs > then.durationMs * slowerFactor && now.durationMs > then.durationMs + slowerMs;
}

async function compared(path: string): Promise<ComparedRun> {
  const source = await openResults(path);
  const own = ownRecord(source);
  if (own === undefined) return fromItems(source);
  return new Map(
    [...own.record.cases.values()].map((one) => [
      one.description.id,
      { status: one.finished?.status ?? 'inconclusive', durationMs: one.finished?.durationMs },
    ]),
  );
}

function fromItems(source: ResultSource): ComparedRun {
  const plugins = pluginsOf(source);
  if (plugins.length === 0)
    throw new Problem(`${source.path} holds no results`, 'Name a results directory or a Sonobuoy tarball.');
  const leaves = plugins.flatMap((plugin) => [...leavesOf(readItemTree(source, plugin))]);
  return new Map(
    leaves.map(({ item }) => [
      String(item.details['id'] ?? item.name),
      { status: item.status, durationMs: secondsOf(item.details['time']) },
    ]),
  );
}

function secondsOf(time: unknown): number | undefined {
  const seconds = Number(time);
  return time === undefined || Number.isNaN(seconds) ? undefined : Math.round(seconds * 1000);
}

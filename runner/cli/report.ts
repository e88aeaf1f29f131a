// SPDX-License-Identifier: Apache-2.0
/** `plumb report`: writes the reports of an earlier run again, from its directory or from its tarball. The exit code is that of the run. */
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { finalLines } from '../../reporters/terminal/terminal.ts';
import { Problem } from '../problem.ts';
import { ownRecord } from '../results/own-record.ts';
import { openResults } from '../results/result-source.ts';
import { applyEvent, emptyRecord, verdictOf } from '../results/run-record.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf, usageError } from './exit-code.ts';
import { printProblem } from './print-problem.ts';
import { writeReports } from './write-reports.ts';

export function addCommands(program: Command, { finish }: CommandContext): void {
  program
    .command('report')
    .description('write the reports of an earlier run again; the exit code is that of the run')
    .argument('<results>', 'a results directory, or a tarball that plumb wrote')
    .option('--output <directory>', 'where to (default: into the results directory, or a folder beside the tarball)')
    .option('-q, --quiet', 'do not print the run')
    .action(async (path: string, flags: { output?: string; quiet?: boolean }) => finish(await writeAgain(path, flags)));
}

async function writeAgain(
  path: string,
  flags: { readonly output?: string; readonly quiet?: boolean },
): Promise<number> {
  const source = await openResults(path);
  const own = ownRecord(source);
  if (own === undefined) {
    throw new Problem(
      `${path} holds no record of a run of plumb`,
      'For archives of other tools use: plumb results PATH',
    );
  }
  if (own.unreadable > 0)
    process.stderr.write(`${own.unreadable} lines of the record are unreadable and were left out\n`);
  if (flags.quiet !== true) printRun(own.events);
  const directory = flags.output ?? (/\.t(ar\.)?gz$/.test(path) ? path.replace(/\.t(ar\.)?gz$/, '') : path);
  const { paths, problems } = await writeReports(directory, own);
  process.stdout.write(
    ['', 'Reports:', ...paths.map((one) => `  ${relative(process.cwd(), join(one))}`), ''].join('\n'),
  );
  for (const problem of problems) printProblem(problem);
  return problems.length > 0 ? usageError : exitCodeOf(verdictOf(own.record).verdict);
}

function printRun(events: Parameters<typeof finalLines>[0][]): void {
  const record = emptyRecord();
  const options = {
    colour: process.stdout.hasColors?.() === true,
    columns: process.stdout.columns ?? 120,
    verbose: false,
  };
  for (const event of events) {
    applyEvent(record, event);
    for (const line of finalLines(event, record, options)) process.stdout.write(`${line}\n`);
  }
}

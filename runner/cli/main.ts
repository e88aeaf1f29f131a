// SPDX-License-Identifier: Apache-2.0
/** The command `plumb`. Each verb is a file of this folder; the exit code of every one comes through exit-code.ts. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addCleanupCommand } from './cleanup.ts';
import { addClusterCommands } from './cluster.ts';
import { addDiffCommand } from './diff.ts';
import { usageError } from './exit-code.ts';
import { printProblem } from './print-problem.ts';
import { addReportCommand } from './report.ts';
import { addResultsCommand } from './results.ts';
import { addRunCommand } from './run.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

let exitCode: number = usageError;
const finish = (code: number): void => {
  exitCode = code;
};

const program = new Command('plumb')
  .description('Certify Kubernetes clusters and find out why their networks fail.')
  .version(version, '-V, --version')
  .showSuggestionAfterError(true)
  .showHelpAfterError('(plumb help COMMAND lists its flags)')
  .exitOverride();
addRunCommand(program, version, finish);
addClusterCommands(program, finish);
addReportCommand(program, finish);
addResultsCommand(program, finish);
addDiffCommand(program, finish);
addCleanupCommand(program, finish);
program
  .command('version')
  .description('print the version')
  .action(() => {
    process.stdout.write(`${version}\n`);
    finish(0);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed the message already; help and version count as success.
    finish(error.exitCode === 0 ? 0 : usageError);
  } else {
    printProblem(error);
    finish(usageError);
  }
}
// Pooled connections would keep the process alive; everything that matters has been waited for.
process.exit(exitCode);

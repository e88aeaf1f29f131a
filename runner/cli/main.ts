// SPDX-License-Identifier: Apache-2.0
/** The command `plumb`. Each verb is a file of this folder; the exit code of every one comes through exit-code.ts. */
import { readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { Command, CommanderError } from 'commander';
import type { CommandContext } from './command-context.ts';
import { usageError } from './exit-code.ts';
import { Problem } from '../problem.ts';
import { printProblem } from './print-problem.ts';

/** Adds verbs. Only what the command line asks for is loaded: the Kubernetes client alone takes half a second. */
interface VerbModule {
  readonly addCommands: (program: Command, context: CommandContext) => void;
}

const modules: readonly { readonly verbs: readonly string[]; readonly load: () => Promise<VerbModule> }[] = [
  { verbs: ['run', 'list'], load: () => import('./run.ts') },
  { verbs: ['cluster', 'image', 'doctor'], load: () => import('./cluster.ts') },
  { verbs: ['report'], load: () => import('./report.ts') },
  { verbs: ['results'], load: () => import('./results.ts') },
  { verbs: ['diff'], load: () => import('./diff.ts') },
  { verbs: ['policy'], load: () => import('./policy.ts') },
  { verbs: ['cleanup'], load: () => import('./cleanup.ts') },
  { verbs: ['pcap'], load: () => import('./pcap.ts') },
  { verbs: ['capture'], load: () => import('./capture.ts') },
  { verbs: ['trace'], load: () => import('./trace.ts') },
  { verbs: ['diagnose'], load: () => import('./diagnose.ts') },
];

enableCompileCache();

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

let exitCode: number = usageError;
const finish = (code: number): void => {
  exitCode = code;
};

/**
 * Output that nobody reads any more, or that has no room, ends no command in the middle: what it started in a cluster is still cleaned up, and
 * its files are still written. Without a listener each failed write would be told as an uncaught error, by another write.
 */
let unwritten: NodeJS.ErrnoException | undefined;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') unwritten ??= error;
  });
}

const program = new Command('plumb')
  .description('Certify Kubernetes clusters and find out why their networks fail.')
  .version(version, '-V, --version')
  .showSuggestionAfterError(true)
  .showHelpAfterError('(plumb help COMMAND lists its flags)')
  .enablePositionalOptions()
  .exitOverride();
const verb = process.argv[2] ?? '';
const asked = modules.filter(({ verbs }) => verbs.includes(verb));
for (const { load } of asked.length > 0 ? asked : verb === 'version' ? [] : modules)
  (await load()).addCommands(program, { version, finish });
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
// A reader of a pipe may be slower than we are: what is not written by then would be lost.
for (const stream of [process.stdout, process.stderr]) {
  await new Promise((resolve) => stream.write('', resolve));
}
if (unwritten !== undefined) {
  printProblem(
    new Problem(`the output could not be written: ${unwritten.message}`, 'Give it a place with room and repeat.'),
  );
  if (exitCode === 0) finish(usageError);
}
// Pooled connections would keep the process alive; everything that matters has been waited for.
process.exit(exitCode);

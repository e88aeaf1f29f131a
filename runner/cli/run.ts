// SPDX-License-Identifier: Apache-2.0
/** `plumb run` and `plumb list`: flags, the terminal, signals; the run itself is perform-run.ts. */
import { appendFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Command } from 'commander';
import { createProbeFleet } from '../../probes/agent/probe-fleet.ts';
import { annotations, stepSummary } from '../../reporters/github/github.ts';
import { terminalView, type TerminalView } from '../../reporters/terminal/terminal.ts';
import type { Case } from '../../suites/case.ts';
import { runningCase } from '../execute/run-case.ts';
import { messageOf } from '../problem.ts';
import type { Recorder } from '../results/recorder.ts';
import { openDirectory } from '../results/result-source.ts';
import { ensureEmbeddedCluster } from '../target/embedded-cluster.ts';
import { kubeconfigSource, loadTarget, type Target } from '../target/kubeconfig.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf, exitCodeOfInterrupt } from './exit-code.ts';
import { ownRecord } from '../results/own-record.ts';
import { performRun, selectedCases, type RunOutcome } from './perform-run.ts';
import { runOptions, type RunFlags, type RunOptions } from './run-options.ts';
import { printProblem } from './print-problem.ts';

const embeddedName = 'plumb';

export function addCommands(program: Command, { version, finish }: CommandContext): void {
  const command = program
    .command('run')
    .description('certify a cluster: run the cases against it and write the reports')
    .option(
      '--kubeconfig <file>',
      'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster, which is started)',
    )
    .option('--context <name>', 'context in the kubeconfig')
    .option('--mode <mode>', 'quick (a minute), network (the data path) or full', 'full')
    .option('--focus <regexp>', 'only cases whose id or title matches; the mode does not count then')
    .option('--skip <regexp>', 'not the cases whose id or title matches')
    .option('--rerun-failed <results>', 'only what failed in that run: a results directory or a Sonobuoy tarball')
    .option('--parallel <number>', 'cases at the same time', '4')
    .option('--timeout <duration>', 'end the run after this time, such as 30m; what is left is reported as skipped')
    .option('--api-wait <duration>', 'how long to wait for an API server that goes away during the run', '2m')
    .option('--image <reference>', 'the probe image (default: plumbline.local/probe:<version>)')
    .option('--output <directory>', 'where results go, in a folder named by the run', 'results')
    .option('--suites <directory>', 'cases of your own instead: <area>/*.cases.ts')
    .option('--no-node-probes', 'leave out privileged probe pods, and the cases that need them')
    .option('--no-cleanup', "leave the run's objects in the cluster (remove them with: plumb cleanup)")
    .option('--no-snapshot', 'leave out the snapshot of the cluster at the end')
    .option('--list', 'list the selected cases and end')
    .option('--dry-run', 'say what would be run, and where, and end')
    .option('-v, --verbose', 'show what cases log');
  command.action(async (flags: RunFlags) => finish(await run(flags, version)));

  program
    .command('list')
    .description('list the cases (the same as: run --list)')
    .option('--mode <mode>', 'quick, network or full', 'full')
    .option('--focus <regexp>', 'only cases whose id or title matches')
    .option('--skip <regexp>', 'not the cases whose id or title matches')
    .option('-v, --verbose', 'with descriptions')
    .action(async (flags: Pick<RunFlags, 'mode' | 'focus' | 'skip' | 'verbose'>) => {
      const defaults = {
        parallel: '4',
        apiWait: '2m',
        output: 'results',
        nodeProbes: true,
        cleanup: true,
        snapshot: true,
      };
      finish(await run({ ...defaults, ...flags, list: true }, version));
    });
}

async function run(flags: RunFlags, toolVersion: string): Promise<number> {
  const options = runOptions(flags, toolVersion);
  if (flags.list === true) {
    printCases(await selectedCases(options), options.verbose);
    return 0;
  }
  // Before the cluster is looked at, or even started: a selection that makes no sense.
  const selected = await selectedCases(options);
  if (flags.dryRun === true) {
    const source = kubeconfigSource(options.kubeconfig, process.env);
    const where =
      source.kind === 'embedded'
        ? `the embedded cluster "${embeddedName}"`
        : loadTarget(source.paths, { ...source, context: options.context }).server;
    printCases(selected, options.verbose);
    process.stdout.write(`\nwould run on ${where}, ${options.parallel} at a time, with ${options.image}\n`);
    return 0;
  }
  return runForReal(await findTarget(options), options, toolVersion);
}

async function findTarget(options: RunOptions): Promise<Target> {
  const source = kubeconfigSource(options.kubeconfig, process.env);
  if (source.kind === 'files') return loadTarget(source.paths, { origin: source.origin, context: options.context });
  const path = await ensureEmbeddedCluster(embeddedName);
  return loadTarget([path], { origin: 'the embedded cluster', context: options.context, embedded: true });
}

async function runForReal(target: Target, options: RunOptions, toolVersion: string): Promise<number> {
  const colour = process.stdout.hasColors?.() === true && process.env['NO_COLOR'] === undefined;
  const view = terminalView(process.stdout, { verbose: options.verbose, colour });
  const interrupt = new AbortController();
  let seen: { recorder: Recorder; runId: string } | undefined;
  const release = listenToSignals(interrupt, view, () => seen);
  try {
    const outcome = await performRun(target, options, {
      toolVersion,
      now: () => new Date(),
      createFleet: createProbeFleet,
      interrupt,
      onRecorder: (recorder, runId) => {
        seen = { recorder, runId };
        recorder.onEvent((event) => view.onEvent(event));
      },
    });
    view.close();
    printOutcome(outcome);
    return exitCodeOf(outcome.verdict);
  } finally {
    view.close();
    release();
  }
}

/** First signal: end in order. Second: at once, saying what is left. Errors that nobody caught belong to the case in whose context they came up. */
function listenToSignals(
  interrupt: AbortController,
  view: TerminalView,
  seen: () => { recorder: Recorder; runId: string } | undefined,
): () => void {
  const onSignal = (signal: NodeJS.Signals): void => {
    const run = seen();
    if (!interrupt.signal.aborted) {
      const message = `${signal}: stopping the cases, cleaning up and writing the reports; once more ends at once`;
      run?.recorder.record({ type: 'message-logged', level: 'warning', message });
      interrupt.abort(new Error(`interrupted by ${signal}`));
      return;
    }
    view.close();
    run?.recorder.close();
    process.stderr.write(
      run === undefined
        ? 'Ended at once.\n'
        : `Ended at once: objects of the run are still in the cluster.\n  remove them:       plumb cleanup --run-id ${run.runId}\n  what was recorded: plumb report ${run.recorder.directory}\n`,
    );
    process.exit(exitCodeOfInterrupt);
  };
  const onError = (error: unknown): void => {
    const one = runningCase.getStore();
    if (one !== undefined) one.crash(error);
    else seen()?.recorder.record({ type: 'message-logged', level: 'error', message: `uncaught: ${messageOf(error)}` });
  };
  process
    .on('SIGINT', onSignal)
    .on('SIGTERM', onSignal)
    .on('uncaughtException', onError)
    .on('unhandledRejection', onError);
  return () => {
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
    process.removeListener('uncaughtException', onError).removeListener('unhandledRejection', onError);
  };
}

function printOutcome({ directory, reports }: RunOutcome): void {
  const shown = (path: string): string => relative(process.cwd(), path);
  process.stdout.write(['', 'Reports:', ...reports.paths.map((path) => `  ${shown(path)}`), ''].join('\n'));
  for (const problem of reports.problems) printProblem(problem);
  if (process.env['GITHUB_ACTIONS'] === 'true') tellGithub(directory);
}

function tellGithub(directory: string): void {
  const files = openDirectory(directory);
  const own = ownRecord(files);
  if (own === undefined) return;
  const input = { record: own.record, events: own.events, files };
  for (const line of annotations(input)) process.stdout.write(`${line}\n`);
  const summary = process.env['GITHUB_STEP_SUMMARY'];
  if (summary !== undefined && summary !== '') appendFileSync(summary, stepSummary(input));
}

function printCases(cases: readonly Case[], verbose: boolean): void {
  const width = Math.max(...cases.map((one) => one.id.length));
  for (const one of cases) {
    process.stdout.write(`${one.id.padEnd(width)}  ${one.title}${one.serial === true ? ' (serial)' : ''}\n`);
    if (verbose) {
      const needs = one.needs?.length ? `\n${' '.repeat(width + 2)}needs: ${one.needs.join(', ')}` : '';
      process.stdout.write(`${' '.repeat(width + 2)}${one.description}${needs}\n`);
    }
  }
  process.stdout.write(`\n${cases.length} cases\n`);
}

// SPDX-License-Identifier: Apache-2.0
/** The part of `plumb run` that meets a cluster: finds it, shows the run in the terminal, answers to signals. Loaded only when it is needed. */
import { appendFileSync } from 'node:fs';
import { relative } from 'node:path';
import { createProbeFleet } from '../../probes/agent/probe-fleet.ts';
import { annotations, stepSummary } from '../../reporters/github/github.ts';
import { terminalView, type TerminalView } from '../../reporters/terminal/terminal.ts';
import type { Case } from '../../suites/case.ts';
import { runningCase } from '../execute/run-case.ts';
import { messageOf } from '../problem.ts';
import { ownRecord } from '../results/own-record.ts';
import type { Recorder } from '../results/recorder.ts';
import { openDirectory } from '../results/result-source.ts';
import { ensureEmbeddedCluster } from '../target/embedded-cluster.ts';
import { kubeconfigSource, loadTarget, type Target } from '../target/kubeconfig.ts';
import { exitCodeOf, exitCodeOfInterrupt } from './exit-code.ts';
import { performRun, type RunOutcome } from './perform-run.ts';
import { printProblem } from './print-problem.ts';
import type { RunOptions } from './run-options.ts';

const embeddedName = 'plumb';

/** The server that a run would go to. */
export function describeTarget(options: RunOptions): string {
  const source = kubeconfigSource(options.kubeconfig, process.env);
  if (source.kind === 'embedded') return `the embedded cluster "${embeddedName}"`;
  return loadTarget(source.paths, { origin: source.origin, context: options.context }).server;
}

async function findTarget(options: RunOptions): Promise<Target> {
  const source = kubeconfigSource(options.kubeconfig, process.env);
  if (source.kind === 'files') return loadTarget(source.paths, { origin: source.origin, context: options.context });
  const path = await ensureEmbeddedCluster(embeddedName);
  return loadTarget([path], { origin: 'the embedded cluster', context: options.context, embedded: true });
}

/** Resolves to the exit code. */
export async function runOnCluster(
  options: RunOptions,
  selected: readonly Case[],
  toolVersion: string,
): Promise<number> {
  const target = await findTarget(options);
  const colour = process.stdout.hasColors?.() === true && process.env['NO_COLOR'] === undefined;
  const view = terminalView(process.stdout, { verbose: options.verbose, colour });
  const interrupt = new AbortController();
  let seen: { recorder: Recorder; runId: string } | undefined;
  const release = listenToSignals(interrupt, view, () => seen);
  try {
    const outcome = await performRun(target, options, {
      toolVersion,
      selected,
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

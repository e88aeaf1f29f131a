// SPDX-License-Identifier: Apache-2.0
/**
 * One run, from the first look at the cluster to the last report:
 *
 * ```text
 *   select cases -> preflight (reading) -> leftovers -> run's namespace, lease -> preflight (pod) -> features -> plan
 *     -> cases, under the monitor -> snapshot -> clean-up -> run-finished -> reports
 * ```
 *
 * Whatever was begun is undone in reverse order, also after an error or an interrupt; the record and the reports are written in any case.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { ProbeFleet, ProbeFleetOptions } from '../../probes/agent/probe-fleet.ts';
import type { Case, ClusterFacts, Need } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { takeSnapshot } from '../collect/snapshot.ts';
import { cleanUp, leftovers } from '../execute/cleanup.ts';
import { startMonitor } from '../execute/cluster-monitor.ts';
import { readableMessage } from '../execute/failure.ts';
import { createNamespace } from '../execute/namespaces.ts';
import { runCase } from '../execute/run-case.ts';
import { holdLease, liveRuns } from '../execute/run-lease.ts';
import { runLabels } from '../execute/run-labels.ts';
import { runPlan } from '../execute/run-plan.ts';
import { settle } from '../execute/settle.ts';
import { describeCase, makePlan, type Unmet } from '../plan/plan.ts';
import { schemaVersion, type Verdict } from '../results/events.ts';
import { createRecorder, type Recorder } from '../results/recorder.ts';
import { openDirectory } from '../results/result-source.ts';
import { foldEvents, verdictOf } from '../results/run-record.ts';
import { nodeFacts } from '../target/cluster-facts.ts';
import { detectFeatures } from '../target/features.ts';
import { flowTracer } from '../diagnose/failing-flow.ts';
import { createKubeClients } from '../target/kube-clients.ts';
import type { Target } from '../target/kubeconfig.ts';
import { podChecks } from '../target/pod-checks.ts';
import { check, PreflightFailed, readOnlyChecks } from '../target/preflight.ts';
import type { RunOptions } from './run-options.ts';
import { writeReports, type WrittenReports } from './write-reports.ts';

export interface RunConditions {
  readonly toolVersion: string;
  readonly selected: readonly Case[];
  readonly now: () => Date;
  readonly createFleet: (options: ProbeFleetOptions) => ProbeFleet;
  /** Aborted on the first Ctrl-C or SIGTERM; the reason says which. */
  readonly interrupt: AbortController;
  /** Told where the record is, as soon as there is one. */
  readonly onRecorder: (recorder: Recorder, runId: string) => void;
}

export interface RunOutcome {
  readonly verdict: Verdict;
  readonly runId: string;
  readonly directory: string;
  readonly reports: WrittenReports;
}

export async function performRun(target: Target, options: RunOptions, conditions: RunConditions): Promise<RunOutcome> {
  const { selected } = conditions;
  const started = conditions.now();
  const runId = newRunId(started);
  const directory = join(options.output, runId);
  const recorder = createRecorder(directory, conditions.now);
  conditions.onRecorder(recorder, runId);
  recorder.record({
    type: 'run-started',
    schema: schemaVersion,
    runId,
    uuid: randomUUID(),
    toolVersion: conditions.toolVersion,
    mode: options.mode,
    ...(options.focus === undefined ? {} : { focus: options.focus }),
    ...(options.skip === undefined ? {} : { skip: options.skip }),
    ...(options.rerunFailed === undefined ? {} : { rerunOf: options.rerunFailed }),
    parallel: options.parallel,
    ...(options.flakeBudget === undefined ? {} : { flakeBudget: options.flakeBudget }),
    target: { server: target.server, context: target.context, embedded: target.embedded },
    image: options.image,
  });

  let failure: string | undefined;
  try {
    await conduct({ target, options, conditions, recorder, runId, selected });
  } catch (error) {
    failure = error instanceof PreflightFailed ? error.message : readableMessage(error);
    if (conditions.interrupt.signal.aborted) failure = undefined;
    else if (!(error instanceof PreflightFailed))
      recorder.record({ type: 'message-logged', level: 'error', message: failure });
  }
  const outcome = finish({
    recorder,
    failure,
    interrupted: conditions.interrupt.signal.aborted,
    durationMs: conditions.now().getTime() - started.getTime(),
  });
  recorder.close();
  const { events } = recorder;
  const reports = await writeReports(directory, {
    record: foldEvents(events),
    events,
    files: openDirectory(directory),
  });
  const problems = recorder.trouble === undefined ? reports.problems : [recorder.trouble, ...reports.problems];
  return {
    verdict: problems.length > 0 && outcome === 'passed' ? 'error' : outcome,
    runId,
    directory,
    reports: { ...reports, problems },
  };
}

interface Conduct {
  readonly target: Target;
  readonly options: RunOptions;
  readonly conditions: RunConditions;
  readonly recorder: Recorder;
  readonly runId: string;
  readonly selected: readonly Case[];
}

async function conduct({ target, options, conditions, recorder, runId, selected }: Conduct): Promise<void> {
  const { signal } = conditions.interrupt;
  const kube = createKubeClients(target.config);
  const record: Recorder['record'] = (event) => recorder.record(event);
  const { identity, facts: firstFacts } = await readOnlyChecks({
    kube,
    config: target.config,
    server: target.server,
    now: conditions.now,
    record,
  });
  await checkOtherRuns(kube, recorder);
  await checkLeftovers(kube, recorder, signal);

  // Undone in reverse order.
  await using undo = new AsyncDisposableStack();
  if (options.cleanup) undo.defer(() => removeRun(kube, runId, recorder));
  const namespace = await createNamespace(kube, { runId, purpose: 'run', signal });
  const lease = await holdLease(kube, runId, { namespace });
  undo.defer(() => lease.stop());

  const { image } = options;
  const trial = await podChecks({ kube, record, namespace, runId, image, signal });
  const facts: ClusterFacts = { ...firstFacts, clusterDomain: trial.clusterDomain };
  const wanted = new Set<Need>(selected.flatMap((one) => one.needs ?? []));
  const features = await detectFeatures(wanted, {
    kube,
    facts,
    nodeProbes: options.nodeProbes,
    trial: { pod: trial.pod, namespace, runId, image, signal },
  });
  record({ type: 'cluster-observed', ...identity, nodes: facts.nodes.map(nodeFacts), features });
  const unmet: Unmet = new Map(
    Object.entries(features).flatMap(([need, { present, detail }]) =>
      present ? [] : [[need as Need, detail] as const],
    ),
  );
  const plan = makePlan(selected, unmet);
  record({ type: 'plan-made', cases: [...plan.parallel, ...plan.serial].map((one) => describeCase(one.case)) });

  const fleet = conditions.createFleet({
    kubeConfig: target.config,
    image,
    labels: runLabels(runId),
    namespace: (purpose, podSecurity) => createNamespace(kube, { runId, purpose, podSecurity, signal }),
    workers: facts.workers,
    nodeProbes: options.nodeProbes,
    trace: flowTracer(kube),
    log: (message) => void record({ type: 'message-logged', level: 'debug', message }),
    signal,
  });
  undo.defer(() => fleet.close());

  const giveUp = (message: string): void => {
    record({ type: 'message-logged', level: 'error', message });
    conditions.interrupt.abort(new Error(message));
  };
  const monitor = startMonitor({
    kube,
    recorder,
    apiWaitMs: options.apiWaitMs,
    onLost: () => giveUp(`the API server has not answered for ${options.apiWaitMs / 1000} s; the run ends here`),
  });
  undo.defer(() => monitor.stop());
  const clock =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(
          () => giveUp(`the run has taken the ${(options.timeoutMs ?? 0) / 1000} s of --timeout; it ends here`),
          options.timeoutMs,
        );
  undo.defer(() => clearTimeout(clock));

  const environment = {
    runId,
    kube,
    fleet,
    cluster: facts,
    images: { probe: image },
    recorder,
    keepFailed: !options.cleanup,
  };
  await runPlan(plan, {
    parallel: options.parallel,
    recorder,
    interrupt: signal,
    runCase: (one) =>
      runCase(one, environment, { interrupt: signal, disturbanceSince: (since) => monitor.disturbanceSince(since) }),
    settle: () => settle(kube, runId, signal),
  });
  if (options.snapshot && !monitor.lost) await takeSnapshot({ kube, recorder, namespace, now: conditions.now });
}

/** Two runs share nodes and serial cases: each can fail for what the other does. */
async function checkOtherRuns(kube: KubeClients, recorder: Recorder): Promise<void> {
  await check(
    'other-runs',
    (event) => recorder.record(event),
    async () => {
      const runs = [...(await liveRuns(kube))];
      if (runs.length === 0) return { status: 'ok', message: 'no other run goes on', value: undefined };
      return {
        status: 'warning',
        message: `${runs.join(', ')} still going on in this cluster: the runs disturb each other`,
        remedy:
          'Let the other run end, then run again before you rely on a failure. A killed run counts for up to a minute.',
        value: undefined,
      };
    },
  );
}

async function checkLeftovers(kube: KubeClients, recorder: Recorder, signal: AbortSignal): Promise<void> {
  await check(
    'leftovers',
    (event) => recorder.record(event),
    async () => {
      const runs = await leftovers(kube, signal);
      if (runs.size === 0) return { status: 'ok', message: 'none of earlier runs', value: undefined };
      const left: string[] = [];
      let deleted = 0;
      for (const runId of runs) {
        const report = await cleanUp(kube, { runId, signal });
        deleted += report.deleted;
        left.push(...report.left);
      }
      const message = `removed ${deleted} objects of ${[...runs].join(', ')}`;
      if (left.length === 0) return { status: 'ok', message, value: undefined };
      return {
        status: 'warning',
        message: `${message}; not removed: ${left.join('; ')}`,
        remedy: 'Try `plumb cleanup` again.',
        value: undefined,
      };
    },
  );
}

/** Also after an interrupt, hence with a signal of its own. */
async function removeRun(kube: KubeClients, runId: string, recorder: Recorder): Promise<void> {
  try {
    recorder.record({ type: 'cleaned-up', ...(await cleanUp(kube, { runId, signal: AbortSignal.timeout(120_000) })) });
  } catch (error) {
    recorder.record({
      type: 'cleaned-up',
      deleted: 0,
      left: [`what carries ${runId}: ${readableMessage(error)}; run: plumb cleanup --run-id ${runId}`],
    });
  }
}

/** Records the end, with the verdict that the record so far amounts to. */
function finish(end: {
  readonly recorder: Recorder;
  readonly failure: string | undefined;
  readonly interrupted: boolean;
  readonly durationMs: number;
}): Verdict {
  const { recorder, failure, interrupted, durationMs } = end;
  const provisional = { type: 'run-finished' as const, time: '', verdict: 'passed' as const, interrupted, durationMs };
  const judged = verdictOf(foldEvents([...recorder.events, provisional]));
  const verdict = failure !== undefined && judged.verdict !== 'failed' ? 'error' : judged.verdict;
  const reason = failure ?? judged.reason;
  recorder.record({
    type: 'run-finished',
    verdict,
    interrupted,
    durationMs,
    ...(reason === undefined ? {} : { reason }),
  });
  return verdict;
}

/** Sorts by time and fits a label: `20261121-135211-4f9a`. */
function newRunId(now: Date): string {
  const digits = now.toISOString().replaceAll(/[^0-9]/g, '');
  return `${digits.slice(0, 8)}-${digits.slice(8, 14)}-${randomBytes(2).toString('hex')}`;
}

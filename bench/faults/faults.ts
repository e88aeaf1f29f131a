// SPDX-License-Identifier: Apache-2.0
/**
 * Breaks the embedded cluster in every way of fixtures/faults and asks `plumb diagnose`, as somebody would who knows nothing: it gets a
 * kubeconfig and no more. What a right answer is, is written by the injecting command into a file that only the score reads.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bench, Benchmark } from '../benchmark.ts';
import { ours } from '../benchmark.ts';
import { clusterDown, clusterName, kubeconfigPath } from '../cluster.ts';
import { clusterProgram, temporaryDirectory } from '../control-plane.ts';
import { runChild } from '../processes.ts';
import { findingsOf, score, type Cause, type Finding, type Score } from './score.ts';

const plumb = [process.execPath, fileURLToPath(new URL('../../runner/cli/main.ts', import.meta.url))];
const healthyRuns = 20;
const commandTimeoutMs = 300_000;

interface ListedFault {
  readonly id: string;
  readonly networks?: readonly string[];
}

interface Diagnosed {
  readonly findings: readonly Finding[];
  /** From the command's start until it has said what it found. */
  readonly seconds: number;
  /** Until it has removed its probes as well, and ended. */
  readonly endSeconds: number;
}

export const faults: Benchmark = {
  name: 'faults',
  about:
    'every fault of `plumb cluster fault list` injected, and diagnosed by `plumb diagnose`: detected, hop and object right, seconds',
  async run(bench) {
    const pattern = new RegExp(process.env['PLUMB_BENCH_FAULTS'] ?? '');
    const network = process.env['PLUMB_BENCH_NETWORK'] ?? 'routed';
    const listed = JSON.parse(await cluster(bench, 'fault', 'list', '--json')) as ListedFault[];
    const chosen = listed.filter(
      ({ id, networks }) => pattern.test(id) && (networks === undefined || networks.includes(network)),
    );
    const kept = process.env['PLUMB_BENCH_CLUSTER'];
    const name = kept ?? clusterName();
    const scratch = temporaryDirectory(bench);
    if (kept === undefined) {
      bench.onCleanup(() => clusterDown(name));
      await fresh(bench, name, network);
    } else await cluster(bench, 'fault', 'workload', '--name', name);
    const focus = process.env['PLUMB_BENCH_FAULTS_RUN'];

    const rounds = bench.options.runs ?? (bench.options.quick ? 3 : healthyRuns);
    let falseFindings = 0;
    for (let round = 0; round < rounds; round++) {
      const { findings, seconds, endSeconds } = await diagnose(bench, name);
      bench.record({ name: 'diagnosis of the whole cluster', unit: 's', better: 'lower' }, ours, [seconds]);
      bench.record({ name: 'until the command has ended', unit: 's', better: 'lower' }, ours, [endSeconds]);
      falseFindings += findings.length;
      for (const finding of findings) bench.note(`false finding on a healthy cluster: ${describe(finding)}`);
    }
    bench.record({ name: `false findings in ${rounds} healthy runs`, unit: '', better: 'lower' }, ours, [
      falseFindings,
    ]);

    const scores: Score[] = [];
    const runs: boolean[] = [];
    for (const { id } of chosen) {
      bench.signal.throwIfAborted();
      const result = await tryFault(bench, { id, name, scratch, focus });
      scores.push(result.score);
      if (result.runFailed !== undefined) runs.push(result.runFailed);
      if (result.seconds !== undefined)
        bench.record({ name: 'diagnosis of a broken cluster', unit: 's', better: 'lower' }, ours, [result.seconds]);
      bench.log(`${verdictOf(result.score).padEnd(18)} ${id}${result.said === '' ? '' : `: ${result.said}`}`);
      if (!result.score.object) bench.note(`${id}: ${verdictOf(result.score)}; said: ${result.said}`);
      // A cluster that did not heal is no ground for the next fault.
      if (!(await healed(bench, name, id))) {
        bench.log(`${id} left the cluster ill: a fresh one`);
        await clusterDown(name);
        await fresh(bench, name, network);
      }
    }
    if (runs.length > 0)
      bench.record({ name: `detected by plumb run, of ${runs.length} faults`, unit: '%', better: 'higher' }, ours, [
        (100 * runs.filter(Boolean).length) / runs.length,
      ]);
    for (const [figure, key] of [
      ['detected', 'detected'],
      ['component right', 'component'],
      ['hop and reason right', 'hop'],
      ['object right too', 'object'],
    ] as const) {
      const share = (100 * scores.filter((one) => one[key]).length) / Math.max(1, scores.length);
      bench.record({ name: `${figure}, of ${scores.length} faults`, unit: '%', better: 'higher' }, ours, [share]);
    }
  },
};

async function fresh(bench: Bench, name: string, network: string): Promise<void> {
  await runChild(bench, [...clusterProgram, 'up', '--name', name, '--workers', '2', '--network', network]);
  await cluster(bench, 'fault', 'workload', '--name', name);
}

interface Trial {
  readonly id: string;
  readonly name: string;
  readonly scratch: string;
  /** Cases that are run as well, after the diagnosis. */
  readonly focus: string | undefined;
}

async function tryFault(
  bench: Bench,
  { id, name, scratch, focus }: Trial,
): Promise<{ score: Score; seconds: number | undefined; said: string; runFailed?: boolean }> {
  const answer = join(scratch, 'answer.json');
  const missed: Score = { detected: false, component: false, hop: false, object: false };
  try {
    await cluster(bench, 'fault', 'inject', id, '--name', name, '--answer', answer);
  } catch (error) {
    bench.signal.throwIfAborted();
    return { score: missed, seconds: undefined, said: `could not be injected: ${String(error)}` };
  }
  const { diagnosis } = JSON.parse(readFileSync(answer, 'utf8')) as { diagnosis: Cause[] };
  // Out of reach before the diagnosis begins.
  writeFileSync(answer, '');
  try {
    const { findings, seconds } = await diagnose(bench, name);
    const said = findings.slice(0, 2).map(describe).join('; ');
    const runFailed = focus === undefined ? {} : { runFailed: await runFails(bench, { name, scratch, focus }) };
    return { score: score(diagnosis, findings), seconds, said, ...runFailed };
  } catch (error) {
    bench.signal.throwIfAborted();
    return { score: missed, seconds: undefined, said: `no diagnosis: ${String(error)}` };
  }
}

/** Whether some of the cases fail; a run that cannot begin on a broken cluster has found that out too. */
async function runFails(
  bench: Bench,
  { name, scratch, focus }: { readonly name: string; readonly scratch: string; readonly focus: string },
): Promise<boolean> {
  const flags = ['--focus', focus, '--no-snapshot', '--timeout', '4m', '--output', join(scratch, 'results')];
  const { code } = await finish(bench, [...plumb, 'run', '--kubeconfig', kubeconfigPath(name), ...flags]);
  return code !== 0;
}

async function healed(bench: Bench, name: string, id: string): Promise<boolean> {
  try {
    await cluster(bench, 'fault', 'heal', '--name', name);
    // What a fault has set off goes on for a while: a node that must become Ready again, pods that back off.
    for (let turn = 0; turn < 6; turn++) {
      if ((await diagnose(bench, name)).findings.length === 0) return true;
    }
    bench.note(`${id}: the cluster was still ill after it was healed`);
    return false;
  } catch (error) {
    bench.signal.throwIfAborted();
    bench.note(`${id}: not healed: ${String(error).slice(0, 300)}`);
    return false;
  }
}

async function diagnose(bench: Bench, name: string): Promise<Diagnosed> {
  const started = performance.now();
  const command = [...plumb, 'diagnose', '--kubeconfig', kubeconfigPath(name), '--json'];
  const { code, stdout, stderr, saidAt } = await finish(bench, command);
  const secondsTo = (at: number): number => (at - started) / 1000;
  const endSeconds = secondsTo(performance.now());
  // 1 says that something is wrong with the cluster, 3 that not all of it could be seen: both are answers.
  if (code !== 0 && code !== 1 && code !== 3)
    throw new Error(`plumb diagnose ended with ${code}: ${stderr.slice(-500)}`);
  return { findings: findingsOf(stdout), seconds: secondsTo(saidAt), endSeconds };
}

async function cluster(bench: Bench, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await finish(bench, [...clusterProgram, ...args]);
  if (code !== 0) throw new Error(`plumb cluster ${args.join(' ')}: ${stderr.slice(-500)}`);
  return stdout;
}

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** When the last of `stdout` came, on the clock of `performance.now()`. */
  readonly saidAt: number;
}

/** Runs a command of this project to its end, whatever its exit code. */
function finish(bench: Bench, [program = '', ...args]: readonly string[]): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const { signal } = bench;
    let saidAt = performance.now();
    const options = { signal, maxBuffer: 64 << 20, timeout: commandTimeoutMs };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: Number(error?.code ?? 0), stdout, stderr, saidAt });
    });
    child.stdout?.on('data', () => (saidAt = performance.now()));
  });
}

function describe({ reason, component, node, objects, summary }: Finding): string {
  return `${component} ${reason}${node === undefined ? '' : ` on ${node}`} [${objects.join(', ')}] ${summary}`;
}

function verdictOf(one: Score): string {
  if (one.object) return 'right';
  if (one.hop) return 'object not named';
  if (one.component) return 'wrong hop';
  return one.detected ? 'wrong component' : 'not detected';
}

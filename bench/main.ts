// SPDX-License-Identifier: Apache-2.0
/** `npm run bench -- NAME...`: runs benchmarks one after the other, prints a table of each, and writes all as JSON if asked to. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { api } from './api.ts';
import type { Bench, Benchmark, BenchOptions } from './benchmark.ts';
import { clusterUp } from './cluster-up.ts';
import { dataPath } from './data-path/data-path.ts';
import { dns } from './dns.ts';
import { faults } from './faults/faults.ts';
import { busyWarning, machine, sampleLoad } from './machine.ts';
import { podStart } from './pod-start.ts';
import { policyMatrix } from './policy-matrix.ts';
import { policyChange } from './policy-rules/policy-change.ts';
import { policyRandom } from './policy-rules/policy-random.ts';
import { pcapJudge } from './pcap-judge.ts';
import { pcapSoak } from './pcap-soak.ts';
import { pcap } from './pcap.ts';
import { Recording, table, type BenchmarkResult, type Document } from './report.ts';
import { scheduler } from './scheduler.ts';
import { services } from './services.ts';
import { servicesFlap } from './services-flap.ts';

const benchmarks: readonly Benchmark[] = [
  clusterUp,
  podStart,
  api,
  scheduler,
  policyMatrix,
  policyChange,
  policyRandom,
  dataPath,
  dns,
  services,
  servicesFlap,
  pcap,
  pcapJudge,
  pcapSoak,
  faults,
];

const usage = `npm run bench -- NAME... [options]

${benchmarks.map(({ name, about }) => `  ${name.padEnd(15)}${about}`).join('\n')}
  all            all of them, one after the other
  list           their names

  --json FILE        write the figures as JSON too (bench/README.md describes the form)
  --quick            fewer samples
  --runs N           how often to repeat
  --kubeconfig FILE  pod-start, policy-matrix: measure this cluster instead of a fresh one
  --profile DIR      api, scheduler: write CPU profiles of the components there (slows them down a little)

Peers are measured in the same run when the environment names them; see bench/README.md.
`;

class UsageError extends Error {}

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv);
  if (values.help || positionals.length === 0) {
    process.stdout.write(usage);
    return values.help ? 0 : 2;
  }
  if (positionals[0] === 'list') {
    process.stdout.write(`${benchmarks.map(({ name }) => name).join('\n')}\n`);
    return 0;
  }
  const chosen = choose(positionals);
  const options: BenchOptions = {
    quick: values.quick,
    runs: values.runs === undefined ? undefined : natural(values.runs),
    kubeconfig: values.kubeconfig,
    profile: values.profile,
  };
  const stop = stopOnSignals();
  const startedAt = new Date().toISOString();
  const results: BenchmarkResult[] = [];
  let code = 0;
  for (const benchmark of chosen) {
    try {
      const result = await perform(benchmark, options, stop);
      results.push(result);
      process.stdout.write(`\n${table(result)}`);
    } catch (error) {
      if (stop.aborted) return 130;
      code = 1;
      process.stderr.write(`bench ${benchmark.name}: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  if (values.json !== undefined) {
    const document: Document = {
      format: 1,
      startedAt,
      project: project(),
      machine: machine(),
      quick: values.quick,
      benchmarks: results,
    };
    writeFileSync(values.json, `${JSON.stringify(document, undefined, 2)}\n`);
  }
  return code;
}

async function perform(benchmark: Benchmark, options: BenchOptions, signal: AbortSignal): Promise<BenchmarkResult> {
  const { name } = benchmark;
  const recording = new Recording();
  const notes: string[] = [];
  const hooks: (() => Promise<void> | void)[] = [];
  const start = performance.now();
  const log = (message: string): void => {
    process.stderr.write(`${((performance.now() - start) / 1000).toFixed(1).padStart(7)} s  ${name}: ${message}\n`);
  };
  const bench: Bench = {
    options,
    signal,
    log,
    record: (figure, subject, samples) => recording.add(figure, subject, samples),
    note: (text) => void notes.push(text),
    onCleanup: (hook) => void hooks.push(hook),
  };
  const before = await sampleLoad();
  const early = busyWarning(before, before);
  if (early !== undefined) log(`warning: ${early}`);
  try {
    await benchmark.run(bench);
  } finally {
    for (const hook of hooks.toReversed()) {
      try {
        await hook();
      } catch (error) {
        log(`cleaning up: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  const durationMs = Math.round(performance.now() - start);
  const after = await sampleLoad();
  const warning = busyWarning(before, after);
  if (warning !== undefined) notes.push(warning);
  return { name, durationMs, load: { before, after }, notes, figures: recording.results() };
}

/** The first signal stops in order; a second one finds the clean-up at work and is told so. */
function stopOnSignals(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      process.stderr.write(`bench: ${stop.signal.aborted ? 'still cleaning up' : 'cleaning up'}\n`);
      stop.abort(new Error(`stopped by ${signal}`));
    });
  }
  return stop.signal;
}

function choose(names: readonly string[]): Benchmark[] {
  if (names.includes('all')) return [...benchmarks];
  return names.map((name) => {
    const found = benchmarks.find((benchmark) => benchmark.name === name);
    if (found !== undefined) return found;
    throw new UsageError(`no benchmark "${name}"; there are: ${benchmarks.map(({ name }) => name).join(', ')}, all`);
  });
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        quick: { type: 'boolean', default: false },
        runs: { type: 'string' },
        kubeconfig: { type: 'string' },
        profile: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function natural(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new UsageError(`--runs "${text}": give a whole number from 1`);
}

function project(): Document['project'] {
  const root = new URL('../', import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', ['-C', fileURLToPath(root), ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
        .toString()
        .trim();
    const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
    return { version, commit: git('rev-parse', '--short=12', 'HEAD') + changed };
  } catch {
    return { version, commit: 'unknown' };
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
// Connections that wait for a time-out must not keep a finished command alive.
process.exit();

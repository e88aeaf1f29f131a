// SPDX-License-Identifier: Apache-2.0
/**
 * npm run prove-cases: breaks an embedded cluster in every way of `sabotages.ts` and sees the cases go red. First everything must be green
 * on the whole cluster, through a proxy that does not lie. Ends with a table of cases and what reddened them; exit code 1 where a case
 * stayed green, or no sabotage reddens it.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { proxyTrouble } from './lying-proxy.ts';
import { healAll, runUnder, type Outcome } from './prove.ts';
import { sabotages, type Sabotage } from './sabotages.ts';
import { bringUp, clusterOf } from './steps.ts';

const usage = `npm run prove-cases -- [flags]
  --name NAME       embedded cluster to break; brought up if it is not there, and left running (prove-cases)
  --only REGEXP     only sabotages whose id matches; then nothing is said about the other cases
  --jobs N          sabotages by the proxy alone that are tried at the same time (2)
  --no-baseline     leave out the run on the whole cluster
  --results DIR     where the records of the runs are kept (a new directory in ${tmpdir()})
`;

const { values } = parseArgs({
  allowNegative: true,
  options: {
    name: { type: 'string', default: 'prove-cases' },
    only: { type: 'string', default: '' },
    jobs: { type: 'string', default: '2' },
    baseline: { type: 'boolean', default: true },
    results: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.stdout.write(usage);
else process.exitCode = await main();

async function main(): Promise<number> {
  const began = performance.now();
  const all = await caseIds();
  const chosen = sabotages.filter(({ id }) => new RegExp(values.only).test(id));
  const plan = chosen.map((sabotage) => ({ sabotage, cases: expand(sabotage, all) }));
  const cluster = await clusterOf(await bringUp(values.name));
  const results = values.results ?? mkdtempSync(join(tmpdir(), 'plumb-prove-'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void healAll().finally(() => process.exit(130)));

  const reddened = new Map<string, string[]>();
  /** What this cluster cannot be asked, such as IPv6 of a cluster with IPv4: told, and not counted. */
  const skipped = new Set<string>();
  const problems: string[] = [];
  const prove = async ({ sabotage, cases }: (typeof plan)[number]): Promise<void> => {
    const outcome = await tryUnder(sabotage.id, () =>
      runUnder(sabotage, cluster, { cases, results: folder(results, sabotage.id) }),
    );
    if (typeof outcome === 'string') {
      problems.push(`${sabotage.id}: ${outcome}`);
      return;
    }
    report(sabotage, outcome, cases);
    for (const id of cases) {
      const found = outcome.cases.get(id);
      const status = found?.error?.message.includes(proxyTrouble) === true ? 'without an answer' : found?.status;
      if (skipped.has(id)) continue;
      if (status === 'failed') reddened.set(id, [...(reddened.get(id) ?? []), sabotage.id]);
      else problems.push(`${sabotage.id} (${sabotage.title}) left ${id} ${status ?? 'not run'}`);
    }
  };

  if (values.baseline) {
    const outcome = await runUnder({ lies: [] }, cluster, { cases: all, results: folder(results, 'baseline') });
    for (const { caseId, status } of outcome.cases.values()) if (status === 'skipped') skipped.add(caseId);
    const notGreen = [...outcome.cases.values()].filter(({ status }) => status !== 'passed' && status !== 'skipped');
    process.stdout.write(
      `${outcome.seconds} s  the whole cluster: ${outcome.cases.size - notGreen.length - skipped.size} of ${all.length} green, ${skipped.size} skipped\n`,
    );
    for (const { caseId, status, reason, error } of notGreen)
      problems.push(`on the whole cluster ${caseId} is ${status}: ${error?.message ?? reason ?? ''}`);
  }
  // Runs of policy cases want the same ports of the nodes.
  const { policies = [], others = [] } = Object.groupBy(
    plan.filter(({ sabotage }) => sabotage.break === undefined),
    ({ cases }) => (cases.some((id) => id.startsWith('network-policy.')) ? 'policies' : 'others'),
  );
  const jobs = Number(values.jobs);
  if (jobs < 2) await inParallel([...policies, ...others], 1, prove);
  else await Promise.all([inParallel(policies, 1, prove), inParallel(others, jobs - 1, prove)]);
  for (const one of plan.filter(({ sabotage }) => sabotage.break !== undefined)) await prove(one);

  const width = Math.max(...all.map((id) => id.length));
  process.stdout.write('\n');
  for (const id of all) {
    const by = reddened.get(id);
    if (by !== undefined) process.stdout.write(`${id.padEnd(width)}  ${by.join(', ')}\n`);
    else if (skipped.has(id)) process.stdout.write(`${id.padEnd(width)}  skipped by this cluster\n`);
    else if (values.only === '') problems.push(`no sabotage reddened ${id}`);
  }
  for (const problem of problems) process.stdout.write(`NOT PROVEN  ${problem}\n`);
  process.stdout.write(
    `\n${reddened.size} of ${all.length} cases went red under ${plan.length} sabotages, in ${Math.round((performance.now() - began) / 1000)} s; records in ${results}\n`,
  );
  return problems.length === 0 ? 0 : 1;
}

async function caseIds(): Promise<string[]> {
  const plumb = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [plumb, 'list']);
  return stdout.split('\n').flatMap((line) => /^([a-z0-9-]+(?:\.[a-z0-9-]+)+) {2}/.exec(line)?.[1] ?? []);
}

/** A pattern that matches nothing is a mistake in the list. */
function expand({ id, reddens }: Sabotage, all: readonly string[]): string[] {
  return reddens.flatMap((pattern) => {
    const found = all.filter((one) => new RegExp(`^(?:${pattern})$`).test(one));
    if (found.length === 0) throw new Error(`sabotage ${id}: there is no case ${pattern}`);
    return found;
  });
}

function folder(results: string, id: string): string {
  const path = join(results, id);
  mkdirSync(path, { recursive: true });
  return path;
}

async function tryUnder(id: string, body: () => Promise<Outcome>): Promise<Outcome | string> {
  try {
    return await body();
  } catch (error) {
    process.stdout.write(`      ${id} could not be tried: ${String(error)}\n`);
    return String(error);
  }
}

function report({ id, title }: Sabotage, outcome: Outcome, cases: readonly string[]): void {
  const lines = cases.map((one) => {
    const found = outcome.cases.get(one);
    const said = (found?.error?.message ?? found?.reason ?? '').split('\n')[0]?.slice(0, 160);
    return `      ${(found?.status ?? 'not run').padEnd(12)} ${one}: ${said}\n`;
  });
  process.stdout.write(`${outcome.seconds} s  ${id}: ${title}\n${lines.join('')}`);
}

async function inParallel<T>(items: readonly T[], jobs: number, body: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await body(item);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}

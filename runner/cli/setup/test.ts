// SPDX-License-Identifier: Apache-2.0
// npm test: set-up, then every test. Unit tests (*.test.ts) run in one mocha with two jobs; end-to-end tests (*.e2e.ts)
// run one after the other, first those that make what they need, then those that share one embedded cluster, whose
// kubeconfig they find in PLUMB_E2E_KUBECONFIG. The last line is the count over all of them.
// Arguments: words that a file's path must contain one of; --unit leaves the end-to-end tests out.

import { createHash } from 'node:crypto';
import { globSync, mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { fail, projectDirectory } from './bootstrap.js';
import { passSignalsOn, runProgram } from './child.ts';
import { ensureSystem } from './system.ts';
import type { TestCounts } from './test-reporter.ts';

/** Two checkouts on one machine may be tested at once. */
const clusterName = `plumb-e2e-${createHash('sha256').update(projectDirectory).digest('hex').slice(0, 4)}`;
const sharedVariable = 'PLUMB_E2E_KUBECONFIG';
const folders = ['runner', 'suites', 'probes', 'reporters', 'cluster', 'bench', 'fixtures'];

const args = process.argv.slice(2);
const words = args.filter((arg) => !arg.startsWith('--'));
const total: TestCounts = { passed: 0, failed: 0, skipped: 0 };
let interrupted = false;
passSignalsOn(() => (interrupted = true));

try {
  await main();
} catch (error) {
  fail(error);
}
const skipped = total.skipped === 0 ? '' : `, ${total.skipped} skipped`;
process.stdout.write(`${total.passed} passed, ${total.failed} failed${skipped}\n`);
process.exitCode = total.failed === 0 && total.passed > 0 && !interrupted ? 0 : 1;

async function main(): Promise<void> {
  const unit = filesNamed('*.test.ts');
  await mocha('unit tests', unit, ['--parallel', '--jobs', '2', '--timeout', '20000']);
  const endToEnd = args.includes('--unit') ? [] : filesNamed('*.e2e.ts');
  if (endToEnd.length === 0) return;
  if (process.getuid?.() !== 0) {
    process.stdout.write(
      `\n${endToEnd.length} files of end-to-end tests are skipped: they need root (sudo npm test)\n`,
    );
    total.skipped += endToEnd.length;
    return;
  }
  await ensureSystem();
  const isSharing = (file: string): boolean =>
    readFileSync(join(projectDirectory, file), 'utf8').includes(sharedVariable);
  for (const file of endToEnd.filter((one) => !isSharing(one))) await mocha(file, [file], ['--timeout', '120000']);
  await onSharedCluster(endToEnd.filter(isSharing));
}

async function onSharedCluster(files: readonly string[]): Promise<void> {
  if (files.length === 0 || interrupted) return;
  const cluster = (command: string, ...flags: string[]): ReturnType<typeof runProgram> =>
    runProgram('cluster/boot/main.ts', [command, '--name', clusterName, ...flags], {
      capture: true,
      timeoutMs: 180_000,
    });
  process.stdout.write(`\n== the cluster ${clusterName} for ${files.length} files of end-to-end tests\n`);
  await cluster('down');
  try {
    const up = await cluster('up');
    if (up.code !== 0) {
      process.stdout.write(`  FAIL  the cluster did not come up; its tests did not run: ${files.join(', ')}\n`);
      total.failed += 1;
      return;
    }
    const kubeconfig = (await cluster('kubeconfig')).output.trim();
    for (const file of files) await mocha(file, [file], ['--timeout', '120000'], { [sharedVariable]: kubeconfig });
  } finally {
    const down = await cluster('down');
    if (down.code !== 0) {
      process.stdout.write(`  FAIL  the cluster ${clusterName} could not be removed\n`);
      total.failed += 1;
    }
  }
}

async function mocha(
  title: string,
  files: readonly string[],
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<void> {
  if (files.length === 0 || interrupted) return;
  process.stdout.write(`\n== ${title}\n`);
  const directory = mkdtempSync(join(tmpdir(), 'plumb-test-'));
  const counts = join(directory, 'counts.json');
  try {
    const reporter = join(projectDirectory, 'runner/cli/setup/test-reporter.ts');
    const result = await runProgram(
      'node_modules/mocha/bin/mocha.js',
      ['--reporter', reporter, '--exit', ...flags, ...files],
      {
        env: { ...env, PLUMB_TEST_COUNTS: counts },
        timeoutMs: 600_000,
      },
    );
    const own = existsSync(counts) ? (JSON.parse(readFileSync(counts, 'utf8')) as TestCounts) : undefined;
    for (const kind of ['passed', 'failed', 'skipped'] as const) total[kind] += own?.[kind] ?? 0;
    // A file that does not load, or hangs, has no count of its own.
    if (result.code !== 0 && (own?.failed ?? 0) === 0) {
      process.stdout.write(
        `  FAIL  mocha ended with code ${result.code}${result.timedOut ? ' after its time was up' : ''}: ${title}\n`,
      );
      total.failed += 1;
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function filesNamed(pattern: string): string[] {
  const all = folders.flatMap((folder) => globSync(`${folder}/**/${pattern}`, { cwd: projectDirectory })).toSorted();
  return words.length === 0 ? all : all.filter((file) => words.some((word) => file.includes(word)));
}

// SPDX-License-Identifier: Apache-2.0
// npm start [-- --rm] [-- flags of "plumb run"]: set-up, the embedded cluster, a quick run on it, and what to do next.
// Exit code: the run's; 2 when there was none.

import { fail } from './bootstrap.js';
import { passSignalsOn, runProgram } from './child.ts';
import { ensureSystem } from './system.ts';

const args = process.argv.slice(2);
const remove = args.includes('--rm');
const runFlags = args.filter((arg) => arg !== '--rm');
let interrupted = false;
passSignalsOn(() => (interrupted = true));

try {
  process.exitCode = await main();
} catch (error) {
  fail(error);
}

async function main(): Promise<number> {
  step('Checking this machine');
  await ensureSystem();
  step('Bringing the cluster "plumb" up (or finding it up)');
  const up = await runProgram('cluster/boot/main.ts', ['up'], { capture: true });
  if (up.code !== 0) return 2;
  const { output } = await runProgram('cluster/boot/main.ts', ['kubeconfig'], { capture: true });
  const kubeconfig = output.trim();
  step('Running the quick selection of cases on it');
  const mode = runFlags.some((flag) => flag.startsWith('--mode')) ? [] : ['--mode', 'quick'];
  const run = interrupted
    ? 130
    : (await runProgram('runner/cli/main.ts', ['run', ...mode, '--kubeconfig', kubeconfig, ...runFlags])).code;
  if (remove) {
    step('Removing the cluster');
    const down = await runProgram('cluster/boot/main.ts', ['down']);
    return down.code === 0 ? run : 2;
  }
  process.stdout.write(`
The cluster stays up. Use it:     export KUBECONFIG=${kubeconfig}
                                  kubectl get pods -A
                     look at it:  npx plumb cluster status
                     run more:    npx plumb run --mode full
                     remove it:   npx plumb cluster down
`);
  return run;
}

function step(text: string): void {
  process.stderr.write(`\n== ${text}\n`);
}

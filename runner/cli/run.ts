// SPDX-License-Identifier: Apache-2.0
/** `plumb run` and `plumb list`: the flags, and what needs no cluster. */
import type { Command } from 'commander';
import type { Case } from '../../suites/case.ts';
import type { CommandContext } from './command-context.ts';
import { runOptions, type RunFlags } from './run-options.ts';
import { selectedCases } from './selected-cases.ts';

export function addCommands(program: Command, { version, finish }: CommandContext): void {
  const command = program
    .command('run')
    .description('certify a cluster: run the cases against it and write the reports')
    .option(
      '--kubeconfig <file>',
      'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster, which is started)',
    )
    .option('--context <name>', 'context in the kubeconfig')
    .option(
      '--mode <mode>',
      'quick (a minute), network (the data path), policy (every generated policy case) or full',
      'full',
    )
    .option('--focus <regexp>', 'only cases whose id, title or #tag matches; the mode does not count then')
    .option('--skip <regexp>', 'not the cases whose id or title matches')
    .option('--rerun-failed <results>', 'only what failed in that run: a results directory or a Sonobuoy tarball')
    .option('--parallel <number>', 'cases at the same time', '4')
    .option('--random <number>', 'add so many random policy cases (run them with --mode policy or --focus)', '0')
    .option('--seed <number>', 'seed of the first random case; the following count up', '1')
    .option('--flake-budget <budget>', 'fail the run if more cases than this (3, or 2%) needed a second try or wavered')
    .option('--timeout <duration>', 'end the run after this time, such as 30m; what is left is reported as skipped')
    .option('--api-wait <duration>', 'how long to wait for an API server that goes away during the run', '2m')
    .option('--image <reference>', 'the probe image (default: plumbline.local/probe:<version>)')
    .option('--output <directory>', 'where results go, in a folder named by the run', 'results')
    .option('--suites <directory>', 'cases of your own instead: <area>/*.cases.ts')
    .option('--no-node-probes', 'leave out privileged probe pods, and the cases that need them')
    .option('--no-cleanup', "leave the run's namespace and what failed cases made (remove it with: plumb cleanup)")
    .option('--no-snapshot', 'leave out the snapshot of the cluster at the end')
    .option('--list', 'list the selected cases and end')
    .option('--dry-run', 'say what would be run, and where, and end')
    .option('-v, --verbose', 'show what cases log');
  command.action(async (flags: RunFlags) => finish(await run(flags, version)));

  program
    .command('list')
    .description('list the cases (the same as: run --list)')
    .option('--mode <mode>', 'quick, network, policy or full', 'full')
    .option('--focus <regexp>', 'only cases whose id or title matches')
    .option('--skip <regexp>', 'not the cases whose id or title matches')
    .option('-v, --verbose', 'with descriptions')
    .action(async (flags: Pick<RunFlags, 'mode' | 'focus' | 'skip' | 'verbose'>) => {
      const defaults = {
        parallel: '4',
        apiWait: '2m',
        seed: '1',
        random: '0',
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
    const { describeTarget } = await import('./run-on-cluster.ts');
    printCases(selected, options.verbose);
    process.stdout.write(`
would run on ${describeTarget(options)}, ${options.parallel} at a time, with ${options.image}
`);
    return 0;
  }
  const { runOnCluster } = await import('./run-on-cluster.ts');
  return runOnCluster(options, selected, toolVersion);
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

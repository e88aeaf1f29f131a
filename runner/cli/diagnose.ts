// SPDX-License-Identifier: Apache-2.0
/** `plumb diagnose`: the flags. What it does is in diagnose-cluster.ts, which is loaded only when it is needed. */
import type { Command } from 'commander';
import type { CommandContext } from './command-context.ts';

export interface DiagnoseFlags {
  readonly json?: true;
  readonly nodeProbes: boolean;
  readonly image?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

export function addCommands(program: Command, { version, finish }: CommandContext): void {
  program
    .command('diagnose')
    .description(
      'look at a whole cluster and say what is broken, causes first: control plane, nodes, network, Services, DNS, policies, workloads',
    )
    .option('--json', 'the findings as JSON')
    .option('--no-node-probes', 'look at no node: only what the API says')
    .option('--image <reference>', 'the probe image (default: plumbline.local/probe:<version>)')
    .option('--kubeconfig <file>', 'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster)')
    .option('--context <name>', 'context in the kubeconfig')
    .addHelpText(
      'after',
      '\nExit code: 0 nothing found, 1 something is broken, 2 wrong usage or no access, 3 nothing found but not all could be looked at.',
    )
    .action(async (flags: DiagnoseFlags) => {
      const { diagnoseCluster } = await import('./diagnose-cluster.ts');
      finish(await diagnoseCluster(flags, version));
    });
}

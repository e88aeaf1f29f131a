// SPDX-License-Identifier: Apache-2.0
/** `plumb trace`: the flags. What it does is in trace-on-cluster.ts, which is loaded only when it is needed. */
import { Option, type Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { parseCount, parseDuration } from './quantities.ts';

export interface TraceFlags {
  readonly namespace?: string;
  readonly protocol?: 'tcp' | 'udp' | 'http';
  readonly timeout: number;
  readonly payload?: number;
  readonly json?: true;
  readonly baseline?: string;
  readonly nodeProbes: boolean;
  readonly image?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

const timeoutDefault = 1.5;

export function addCommands(program: Command, { version, finish }: CommandContext): void {
  program
    .command('trace')
    .description('send marked probes, follow them through interfaces, rules and routes, and say where they end and why')
    .argument('<from>', 'pod/a, namespace/a, node/n1, or outside: this machine')
    .argument('<to>', 'pod/b:8080, svc/web:80, namespace/b:8080, node/n1:30080, 10.0.0.1:80, or a name: web.shop:80')
    .option('-n, --namespace <name>', "namespace of pods and Services without one (default: the context's)")
    .addOption(
      new Option('-p, --protocol <name>', "tcp, udp or http (default: that of the Service's port, else tcp)").choices([
        'tcp',
        'udp',
        'http',
      ]),
    )
    .option('--timeout <time>', 'how long an answer is waited for', parseDuration, timeoutDefault)
    .option('--payload <octets>', 'after a small probe one of this size, to find wrong MTUs', parseCount)
    .option('--json', 'everything that was seen and concluded, as JSON')
    .option('--baseline <file>', 'what is different from this earlier output of --json')
    .option('--no-node-probes', 'look at no node: say less, and need no privileged pods')
    .option('--image <reference>', 'the probe image (default: plumbline.local/probe:<version>)')
    .option('--kubeconfig <file>', 'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster)')
    .option('--context <name>', 'context in the kubeconfig')
    .addHelpText('after', '\nExit code: 0 delivered, 1 not delivered, 2 wrong usage or no access, 3 inconclusive.')
    .action(async (from: string, to: string, flags: TraceFlags) => {
      const { traceOnCluster } = await import('./trace-on-cluster.ts');
      finish(await traceOnCluster({ from, to }, flags, version));
    });
}

// SPDX-License-Identifier: Apache-2.0
/** `plumb capture`: the flags. What it does is in capture-on-cluster.ts, which is loaded only when it is needed. */
import type { Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { parseCount, parseDuration, parseSize } from './quantities.ts';

export interface CaptureFlags {
  readonly namespace?: string;
  readonly allNamespaces?: true;
  readonly selector?: string;
  readonly node: readonly string[];
  readonly all?: true;
  readonly filter?: string;
  readonly write?: string;
  readonly print?: true;
  readonly duration: number;
  readonly count?: number;
  readonly maxBytes: number;
  readonly snapshotLength: number;
  readonly e?: true;
  readonly v: number;
  readonly X?: true;
  readonly image?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

const hour = 3600;
const gigabyte = 1e9;

export function addCommands(program: Command, { version, finish }: CommandContext): void {
  program
    .command('capture')
    .description(
      'capture at pods, their host sides and the uplinks of their nodes at once; one packet seen at several places gets one number',
    )
    .argument('[target...]', 'pod/a, deploy/web, sts/db, svc/web, node/n1; a name alone is a pod')
    .option('-n, --namespace <name>', "namespace of the targets (default: the context's)")
    .option('-A, --all-namespaces', 'with -l: in every namespace; alone: every pod')
    .option('-l, --selector <labels>', 'pods with these labels: app=x,tier!=cache')
    .option('--node <name>', 'the uplinks and tunnels of a node; again for more', collect, [])
    .option('--all', 'the uplinks and tunnels of every node')
    .option('-f, --filter <expression>', "only packets that fit, in tcpdump's language, within tunnels too")
    .option(
      '-w, --write <file>',
      'write pcapng instead of printing; - for stdout: plumb capture ... -w - | wireshark -k -i -',
    )
    .option('--print', 'print as well with -w FILE')
    .option('--duration <time>', 'stop after this time: 30s, 5m', parseDuration, hour)
    .option(
      '-c, --count <packets>',
      'stop after so many packets, each counted once however often it was seen',
      parseCount,
    )
    .option('-C, --max-bytes <size>', 'stop when so much has been written or seen: 10M', parseSize, gigabyte)
    .option('-s, --snapshot-length <octets>', 'octets kept of each packet', parseCount, 262_144)
    .option('-e', 'print the link-layer header too')
    .option('-v', 'print more of each packet; -vv and -vvv still more', (_: string, before: number) => before + 1, 0)
    .option('-X', 'print the octets of each packet')
    .option('--image <reference>', 'the probe image (default: plumbline.local/probe:<version>)')
    .option('--kubeconfig <file>', 'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster)')
    .option('--context <name>', 'context in the kubeconfig')
    .action(async (targets: string[], flags: CaptureFlags) => {
      const { captureOnCluster } = await import('./capture-on-cluster.ts');
      finish(await captureOnCluster(targets, flags, version));
    });
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

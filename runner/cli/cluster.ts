// SPDX-License-Identifier: Apache-2.0
/** Verbs that the embedded cluster answers itself: `cluster ...`, `image ...`, `doctor`. All flags are handed through. */
import type { Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { runClusterCommand } from '../target/embedded-cluster.ts';

const passedThrough: readonly {
  readonly name: string;
  readonly prefix: readonly string[];
  readonly description: string;
}[] = [
  {
    name: 'cluster',
    prefix: [],
    description:
      'the embedded cluster: up, down, status, kubeconfig, logs, exec, list (plumb cluster --help lists their flags)',
  },
  { name: 'image', prefix: ['image'], description: 'the probe image: build -o FILE, push REF' },
  {
    name: 'doctor',
    prefix: ['doctor'],
    description: 'check what this machine has for an embedded cluster, with remedies',
  },
];

export function addCommands(program: Command, { finish }: CommandContext): void {
  for (const { name, prefix, description } of passedThrough) {
    program
      .command(name)
      .description(description)
      .argument('[args...]')
      .allowUnknownOption()
      .helpOption(false)
      .passThroughOptions()
      .action(async (args: string[]) => finish(await runClusterCommand([...prefix, ...args])));
  }
}

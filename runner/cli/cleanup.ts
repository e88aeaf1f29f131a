// SPDX-License-Identifier: Apache-2.0
/** `plumb cleanup`: removes what runs left in a cluster, and nothing that carries no run's id. */
import type { Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { cleanUp } from '../execute/cleanup.ts';
import { liveRuns } from '../execute/run-lease.ts';
import { readableMessage } from '../execute/failure.ts';
import { Problem } from '../problem.ts';
import { existingTarget } from '../target/existing-target.ts';
import { createKubeClients } from '../target/kube-clients.ts';
import { reachRemedy } from '../target/preflight.ts';
import { usageError } from './exit-code.ts';

interface CleanupFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly runId?: string;
  readonly force?: boolean;
}

export function addCommands(program: Command, { finish }: CommandContext): void {
  program
    .command('cleanup')
    .description('remove what earlier runs left in the cluster (only what carries the label plumbline.io/run-id)')
    .option('--kubeconfig <file>', 'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster)')
    .option('--context <name>', 'context in the kubeconfig')
    .option('--run-id <id>', 'only this run')
    .option('--force', 'also runs that are going on at this moment')
    .action(async (flags: CleanupFlags) => finish(await removeLeftovers(flags)));
}

async function removeLeftovers(flags: CleanupFlags): Promise<number> {
  const target = await existingTarget(flags, 'to clean');
  const kube = createKubeClients(target.config);
  const log = (message: string): void => void process.stdout.write(`${message}\n`);
  try {
    const live = flags.force === true ? new Set<string>() : await liveRuns(kube);
    if (flags.runId !== undefined && live.has(flags.runId)) {
      throw new Problem(
        `run ${flags.runId} is going on`,
        'Wait for its end (a killed run counts as ended after a minute), or add --force.',
      );
    }
    for (const runId of live) log(`run ${runId} is going on: left alone (--force removes it too)`);
    const { deleted, left } = await cleanUp(kube, {
      runId: flags.runId,
      evenLive: flags.force === true,
      signal: AbortSignal.timeout(300_000),
      log,
    });
    log(deleted === 0 && left.length === 0 ? 'nothing to remove' : `removed ${deleted}, left ${left.length}`);
    for (const one of left) process.stderr.write(`not removed: ${one}\n`);
    return left.length === 0 ? 0 : usageError;
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(`${target.server}: ${readableMessage(error)}`, reachRemedy(error, target.server), {
      cause: error,
    });
  }
}

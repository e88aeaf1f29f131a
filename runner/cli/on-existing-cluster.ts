// SPDX-License-Identifier: Apache-2.0
/** The frame of `plumb capture`, `trace` and `diagnose`: a cluster that is there, node probes that go with the command, Ctrl-C, and errors in words. */
import type { KubeClients } from '../../suites/kube-clients.ts';
import { readableMessage } from '../execute/failure.ts';
import { Problem } from '../problem.ts';
import { existingTarget, type TargetFlags } from '../target/existing-target.ts';
import { createKubeClients } from '../target/kube-clients.ts';
import { openNodeAccess, type OwnNodeAccess } from '../target/node-access.ts';
import { reachRemedy } from '../target/preflight.ts';
import { exitCodeOf } from './exit-code.ts';

export interface ClusterFlags extends TargetFlags {
  readonly namespace?: string;
  /** Image of the node probes; absent: that of this version. */
  readonly image?: string;
}

export interface OnCluster {
  readonly kube: KubeClients;
  /** Address of the API server. */
  readonly server: string;
  /** Where names without a namespace are looked for: that of the flags, or of the kubeconfig's context. */
  readonly namespace: string;
  /** Aborted by the first signal; the second ends the process, and the node probes then go by themselves. */
  readonly signal: AbortSignal;
  /** Node probes that live for `lifeSeconds` at most. To be called once. */
  openAccess(lifeSeconds: number): Promise<OwnNodeAccess>;
}

/** Resolves to the exit code: that of `act`, or "inconclusive" where a signal made it fail. */
export async function onExistingCluster(
  purpose: 'capture' | 'trace' | 'diagnose',
  { flags, version }: { readonly flags: ClusterFlags; readonly version: string },
  act: (on: OnCluster) => Promise<number>,
): Promise<number> {
  const target = await existingTarget(flags, `to ${purpose} in`);
  const kube = createKubeClients(target.config);
  const interrupt = new AbortController();
  const { signal } = interrupt;
  const onSignal = (): void => {
    if (signal.aborted) process.exit(exitCodeOf('inconclusive'));
    interrupt.abort(new Error('interrupted'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  let opening: Promise<OwnNodeAccess> | undefined;
  try {
    return await act({
      kube,
      server: target.server,
      namespace: flags.namespace ?? target.config.getContextObject(target.context)?.namespace ?? 'default',
      signal,
      openAccess: (lifeSeconds) => {
        const image = flags.image ?? `plumbline.local/probe:${version}`;
        opening = openNodeAccess({ kube, purpose, image, lifeSeconds, signal });
        return opening;
      },
    });
  } catch (error) {
    if (signal.aborted) return exitCodeOf('inconclusive');
    if (error instanceof Problem) throw error;
    throw new Problem(readableMessage(error), reachRemedy(error, target.server), { cause: error });
  } finally {
    // It may still be under way when the command is interrupted: what it makes must go as well.
    await opening?.then(
      (access) => access.close(),
      () => undefined,
    );
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
}

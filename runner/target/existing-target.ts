// SPDX-License-Identifier: Apache-2.0
/** The cluster for commands that look at one: as for runs, but none is ever started for them. */
import { Problem } from '../problem.ts';
import { embeddedKubeconfig } from './embedded-cluster.ts';
import { kubeconfigSource, loadTarget, type Target } from './kubeconfig.ts';

export interface TargetFlags {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

/** `purpose` says in the error what there is no cluster for: `to capture in`. */
export async function existingTarget({ kubeconfig, context }: TargetFlags, purpose: string): Promise<Target> {
  const source = kubeconfigSource(kubeconfig, process.env);
  if (source.kind === 'files') return loadTarget(source.paths, { origin: source.origin, context });
  const path = await embeddedKubeconfig('plumb');
  if (path !== undefined) return loadTarget([path], { origin: 'the embedded cluster', context, embedded: true });
  throw new Problem(
    `there is no cluster ${purpose}: no kubeconfig, and the embedded cluster does not run`,
    'Name one with --kubeconfig FILE.',
  );
}

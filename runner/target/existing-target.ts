// SPDX-License-Identifier: Apache-2.0
/** The cluster for commands that look at one: as for runs, but none is ever started for them. */
import { Problem } from '../problem.ts';
import { embeddedKubeconfig } from './embedded-cluster.ts';
import { kubeconfigSource, loadTarget, type Target } from './kubeconfig.ts';

export interface TargetFlags {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

/** Undefined where no kubeconfig is named and the embedded cluster does not run. */
export async function findTarget({ kubeconfig, context }: TargetFlags): Promise<Target | undefined> {
  const source = kubeconfigSource(kubeconfig, process.env);
  if (source.kind === 'files') return loadTarget(source.paths, { origin: source.origin, context });
  const path = await embeddedKubeconfig('plumb');
  if (path === undefined) return undefined;
  return loadTarget([path], { origin: 'the embedded cluster', context, embedded: true });
}

/** `purpose` says in the error what there is no cluster for: `to capture in`. */
export async function existingTarget(flags: TargetFlags, purpose: string): Promise<Target> {
  const target = await findTarget(flags);
  if (target !== undefined) return target;
  throw new Problem(
    `there is no cluster ${purpose}: no kubeconfig, and the embedded cluster does not run`,
    'Name one with --kubeconfig FILE.',
  );
}

// SPDX-License-Identifier: Apache-2.0
/** The part of `plumb diagnose` that meets a cluster. */
import { examine, type Examination } from '../diagnose/examine.ts';
import type { DiagnoseFlags } from './diagnose.ts';
import { exitCodeOf } from './exit-code.ts';
import { onExistingCluster } from './on-existing-cluster.ts';

const lifeSeconds = 180;

/** Resolves to the exit code. */
export async function diagnoseCluster(flags: DiagnoseFlags, version: string): Promise<number> {
  return await onExistingCluster('diagnose', { flags, version }, async ({ kube, openAccess, signal }) => {
    const started = performance.now();
    const log = (message: string): void => void process.stderr.write(`${message}\n`);
    const examination = await Promise.race([
      examine({ kube, openAccess: flags.nodeProbes ? () => openAccess(lifeSeconds) : undefined, log }),
      interrupted(signal),
    ]);
    const seconds = (performance.now() - started) / 1000;
    const text =
      flags.json === true
        ? JSON.stringify({ schema: 1, seconds, ...examination }, undefined, 2)
        : lines(examination, seconds).join('\n');
    process.stdout.write(`${text}\n`);
    if (examination.findings.length > 0) return exitCodeOf('failed');
    // Nobody shall take for healthy what could not be looked at, unless they asked not to look.
    return exitCodeOf(flags.nodeProbes && examination.gaps.length > 0 ? 'inconclusive' : 'passed');
  });
}

/** Rejects when the signal is aborted: what waits for a node then is not waited for. */
function interrupted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}

function lines({ findings, gaps, probes, failedProbes, nodes }: Examination, seconds: number): string[] {
  const checked = `${nodes} nodes, ${probes} probes of which ${failedProbes} failed, ${seconds.toFixed(1)} s`;
  const found = findings.flatMap(({ reason, component, node, objects, summary, evidence, next }, index) => [
    '',
    `${index + 1}. ${component}${node === undefined ? '' : ` on ${node}`}: ${reason}`,
    `   ${summary}`,
    ...(objects.length === 0 ? [] : [`   objects: ${objects.slice(0, 8).join(', ')}`]),
    ...evidence.slice(0, 6).map((fact) => `   seen:    ${fact}`),
    `   next:    ${next}`,
  ]);
  return [
    findings.length === 0
      ? `Nothing is broken as far as could be seen (${checked}).`
      : `${findings.length} findings, causes first (${checked}):`,
    ...found,
    ...gaps.map((gap) => `not seen: ${gap}`),
  ];
}

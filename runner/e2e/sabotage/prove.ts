// SPDX-License-Identifier: Apache-2.0
/** One sabotage from end to end: break, run the real command on the cases that must be red, read what it recorded, heal. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeEvents } from '../../results/decode.ts';
import type { CaseFinished } from '../../results/events.ts';
import { startPlumb } from '../plumb-process.ts';
import { lies } from './lies.ts';
import { startLyingProxy } from './lying-proxy.ts';
import type { Sabotage } from './sabotages.ts';
import { Background, type Cluster } from './steps.ts';

export interface Outcome {
  readonly cases: ReadonlyMap<string, CaseFinished>;
  /** Folder of the run's record. */
  readonly directory: string;
  readonly output: string;
  readonly seconds: number;
}

export interface ProveOptions {
  /** Ids of the cases to run. */
  readonly cases: readonly string[];
  /** Where the record is kept. */
  readonly results: string;
  readonly parallel?: number;
}

/** What must still be healed if this process is ended. */
const underWay = new Set<() => Promise<void>>();

export async function healAll(): Promise<void> {
  await Promise.allSettled([...underWay].map((heal) => heal()));
}

/** Applies the sabotage, runs the cases and heals, also when the run itself failed. */
export async function runUnder(
  sabotage: Pick<Sabotage, 'lies' | 'break' | 'heal'>,
  cluster: Cluster,
  options: ProveOptions,
): Promise<Outcome> {
  const scratch = mkdtempSync(join(tmpdir(), 'plumb-sabotage-'));
  const background = new Background();
  const heal = async (): Promise<void> => {
    background.stop();
    await background.perform(cluster, sabotage.heal ?? []);
  };
  const proxy =
    sabotage.lies === undefined
      ? undefined
      : await startLyingProxy({
          kubeconfig: cluster.kubeconfig,
          path: join(scratch, 'kubeconfig'),
          lies: sabotage.lies.map((name) => lies[name]()),
        });
  underWay.add(heal);
  try {
    try {
      await background.perform(cluster, sabotage.break ?? []);
    } catch (error) {
      // What was half broken is healed as far as there is something to heal; the first error is the one to tell.
      await heal().catch(() => undefined);
      throw error;
    }
    try {
      return await runCases(proxy?.kubeconfig ?? cluster.kubeconfig, options);
    } finally {
      await heal();
    }
  } finally {
    underWay.delete(heal);
    proxy?.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function runCases(kubeconfig: string, { cases, results, parallel = 4 }: ProveOptions): Promise<Outcome> {
  const began = performance.now();
  const { output } = await startPlumb([
    'run',
    '--kubeconfig',
    kubeconfig,
    '--focus',
    `^(${cases.map((id) => id.replaceAll('.', '\\.')).join('|')})$`,
    '--output',
    results,
    '--parallel',
    String(parallel),
    '--no-snapshot',
    '--verbose',
  ]).ended;
  const [run] = readdirSync(results).toSorted().toReversed();
  const directory = join(results, run ?? '');
  const { events } = decodeEvents(readFileSync(join(directory, 'events.jsonl'), 'utf8'));
  const finished = events.filter((event) => event.type === 'case-finished');
  return {
    cases: new Map(finished.map((event) => [event.caseId, event])),
    directory,
    output,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

// SPDX-License-Identifier: Apache-2.0
// `plumb cluster fault list|workload|inject|heal`.

import { writeFileSync } from 'node:fs';

import type { ClusterState } from '../boot/state.ts';
import { allFaults, deployWorkload, faultById, heal, inject, injectedFaults } from './injection.ts';

export interface FaultFlags {
  readonly json: boolean;
  /** Where the answer goes; nothing is printed of it, so that whoever is to find the fault cannot read it. */
  readonly answer: string | undefined;
  /** Found only when needed: `list` works without a cluster. */
  readonly state: () => ClusterState;
}

/** Resolves to what is to be printed, or to undefined if the words are no such command. */
export async function faultCommand(words: readonly string[], flags: FaultFlags): Promise<string | undefined> {
  const [action, id, ...rest] = words;
  if (rest.length > 0) return undefined;
  if (action === 'list' && id === undefined) return list(flags.json);
  if (action === 'workload' && id === undefined) {
    await deployWorkload(flags.state());
    return 'the workload runs in namespace shop\n';
  }
  if (action === 'inject' && id !== undefined) {
    const fault = faultById(id);
    const { diagnosis } = await inject(fault, flags.state());
    if (flags.answer !== undefined) writeFileSync(flags.answer, `${JSON.stringify({ id, diagnosis }, undefined, 2)}\n`);
    return `${fault.title}\nheal it with: plumb cluster fault heal ${id}\n`;
  }
  if (action === 'heal') return healed(id, flags.state());
  return undefined;
}

function list(json: boolean): string {
  const faults = allFaults();
  if (json) return `${JSON.stringify(faults, undefined, 2)}\n`;
  const width = Math.max(...faults.map(({ id }) => id.length));
  const lines = faults.map(({ id, area, title, networks }) => {
    const only = networks === undefined ? '' : ` (--network ${networks.join(', ')})`;
    return `${area.padEnd(13)} ${id.padEnd(width)}  ${title}${only}\n`;
  });
  return `${lines.join('')}${faults.length} faults\n`;
}

async function healed(id: string | undefined, state: ClusterState): Promise<string> {
  const ids = id === undefined ? injectedFaults(state).map((one) => one.id) : [id];
  // Latest first, as they may lie on top of each other.
  for (const one of ids.toReversed()) await heal(one, state);
  return ids.length === 0 ? `no fault is in cluster ${state.name}\n` : `healed ${ids.join(', ')}\n`;
}

// SPDX-License-Identifier: Apache-2.0
/** The machine under the figures, and whether it was busy with something else. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly architecture: string;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
}

export interface Load {
  /** Processes that ran or waited for a disk, on average over 1, 5 and 15 minutes. */
  readonly average: readonly number[];
  /** Share of all cores' time that was not idle while nothing of ours ran, 0 to 1. */
  readonly busy: number;
  /** Share of all cores' time that the hypervisor gave to others, 0 to 1. */
  readonly stolen: number;
}

const sampleMs = 1_000;
/** A share of somebody else's work from which on figures are to be taken with care. */
const busyMin = 0.15;

export function machine(): Machine {
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    architecture: process.arch,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
  };
}

/** Looks for a second; to be asked while the benchmark itself does nothing. */
export async function sampleLoad(): Promise<Load> {
  const before = jiffies();
  await delay(sampleMs);
  const after = jiffies();
  const total = Math.max(1, after.total - before.total);
  return {
    average: loadavg(),
    busy: (total - (after.idle - before.idle)) / total,
    stolen: (after.stolen - before.stolen) / total,
  };
}

/** A sentence about a machine that had other things to do, or undefined. */
export function busyWarning(before: Load, after: Load): string | undefined {
  const worst = Math.max(before.busy, after.busy);
  if (worst < busyMin) return undefined;
  return (
    `the machine was busy with something else (before ${percent(before.busy)}, after ${percent(after.busy)} of its cores; ` +
    `load ${before.average[0]?.toFixed(1)}): only ratios of this run mean something, and they little`
  );
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function jiffies(): { total: number; idle: number; stolen: number } {
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; guests are counted in user already.
  const [, ...fields] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/\s+/);
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, stolen = 0] = fields.map(Number);
  return { total: user + nice + system + idle + wait + irq + softirq + stolen, idle: idle + wait, stolen };
}

// SPDX-License-Identifier: Apache-2.0
// Makes the bandwidth annotations of pods mean what they say. The CNI plugin shapes the pod's links, but the container
// runtime tells it to let 512 MB pass before that; here the bucket becomes a tenth of a second of the rate. What the runtime
// asked for is read where the CNI library records it, before the pod's first process runs.

import { watch } from 'node:fs';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { networkName } from './cni-config.ts';
import { runTc } from './ip-command.ts';

export interface ShapedLink {
  readonly link: string;
  readonly bitsPerSecond: number;
}

/** The plugin's own links, through which it leads what a pod sends. */
const egressLink = /^bwp/;

/**
 * Links of the node with their rates, from a record of the CNI library: what a pod receives leaves by its veth, what it
 * sends by the plugin's link. Empty for a pod without limits, and for text that is no whole record.
 */
export function shapedLinks(record: string): ShapedLink[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(record);
  } catch {
    return [];
  }
  const { capabilityArgs, result } = (parsed ?? {}) as {
    capabilityArgs?: { bandwidth?: Record<string, unknown> };
    result?: { interfaces?: { name?: unknown; sandbox?: unknown }[] };
  };
  const rates = new Map(
    Object.entries(capabilityArgs?.bandwidth ?? {}).map(([key, value]) => [key.toLowerCase(), value]),
  );
  const links = (result?.interfaces ?? []).filter(({ sandbox = '' }) => sandbox === '').map(({ name }) => String(name));
  const shaped = (link: string | undefined, rate: unknown): ShapedLink[] =>
    link !== undefined && typeof rate === 'number' && rate > 0 ? [{ link, bitsPerSecond: rate }] : [];
  return [
    ...shaped(
      links.find((link) => !egressLink.test(link)),
      rates.get('ingressrate'),
    ),
    ...shaped(
      links.find((link) => egressLink.test(link)),
      rates.get('egressrate'),
    ),
  ];
}

/** A tenth of a second, but room for one packet as large as segmentation offload makes them. */
export function burstBytes(bitsPerSecond: number): number {
  return Math.max(65_536, Math.round(bitsPerSecond / 8 / 10));
}

/** Shapes the links of all pods of this node, those to come as soon as they have them, until `signal` aborts. */
export async function keepBandwidth(
  directory: string,
  signal: AbortSignal,
  onError: (error: unknown) => void,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const done = new Map<string, string>();
  const shape = async (file: string): Promise<void> => {
    if (!file.startsWith(`${networkName}-`)) return;
    const record = await readFile(join(directory, file), 'utf8').catch(() => undefined);
    if (record === undefined) {
      done.delete(file);
      return;
    }
    const links = shapedLinks(record);
    const text = JSON.stringify(links);
    if (links.length === 0 || done.get(file) === text) return;
    done.set(file, text);
    for (const { link, bitsPerSecond } of links) {
      const limits = ['rate', `${bitsPerSecond}bit`, 'burst', `${burstBytes(bitsPerSecond)}b`, 'latency', '50ms'];
      await runTc(['qdisc', 'replace', 'dev', link, 'root', 'handle', '1:', 'tbf', ...limits]);
    }
  };
  const tryShape = (file: string): void => void shape(file).catch(onError);
  const watcher = watch(directory, (_event, file) => {
    if (file !== null) tryShape(file);
  });
  signal.addEventListener('abort', () => watcher.close());
  for (const file of await readdir(directory)) tryShape(file);
}

// SPDX-License-Identifier: Apache-2.0
// Which pods of this node have which addresses, learned where it is known first: the CNI library records the result of
// every ADD in a file before the runtime starts the pod's first container, and removes it after DEL. A pod's addresses
// are therefore known here before any of its processes runs.

import { mkdir, readFile, readdir } from 'node:fs/promises';
import { watch } from 'node:fs';
import { join } from 'node:path';

import { networkName } from '../cni-config.ts';
import type { FSWatcher } from 'node:fs';

export interface CniAttachment {
  readonly namespace: string;
  readonly name: string;
  /** Empty when the runtime does not say. */
  readonly uid: string;
  readonly ips: readonly string[];
}

/** Where libcni keeps results, unless told otherwise. */
export const resultsDirectory = '/var/lib/cni/results';

export class CniAttachments {
  readonly #directory: string;
  readonly #onChange: () => void;
  readonly #byFile = new Map<string, CniAttachment>();
  #watcher: FSWatcher | undefined;
  /** Files are read one after another, so that an older content never replaces a newer one. */
  #reading: Promise<void> = Promise.resolve();

  constructor(directory: string, onChange: () => void) {
    this.#directory = directory;
    this.#onChange = onChange;
  }

  /** Reads what is there and watches from then on. */
  async start(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    this.#watcher = watch(this.#directory, (_event, file) => {
      if (file !== null) void this.#refresh(file);
    });
    await this.rescan();
  }

  stop(): void {
    this.#watcher?.close();
  }

  list(): CniAttachment[] {
    return [...this.#byFile.values()];
  }

  /** Compares all files with what is known; heals what the watch may have missed. */
  async rescan(): Promise<void> {
    const files = new Set(await readdir(this.#directory));
    for (const known of this.#byFile.keys()) files.add(known);
    for (const file of files) await this.#refresh(file);
  }

  #refresh(file: string): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read(file));
    return this.#reading;
  }

  async #read(file: string): Promise<void> {
    if (!file.startsWith(`${networkName}-`)) return;
    const text = await readFile(join(this.#directory, file), 'utf8').catch(() => undefined);
    // An unfinished file does not parse; finishing it is another event.
    const attachment = text === undefined ? undefined : parseAttachment(text);
    if (text !== undefined && attachment === undefined) return;
    const before = this.#byFile.get(file);
    if (JSON.stringify(before) === JSON.stringify(attachment)) return;
    if (attachment === undefined) this.#byFile.delete(file);
    else this.#byFile.set(file, attachment);
    this.#onChange();
  }
}

/** Reads a cached CNI result; undefined when it is incomplete or not a pod's. */
export function parseAttachment(text: string): CniAttachment | undefined {
  let cached: unknown;
  try {
    cached = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof cached !== 'object' || cached === null) return undefined;
  const { cniArgs, result } = cached as { cniArgs?: unknown; result?: { ips?: unknown } };
  if (!Array.isArray(cniArgs) || typeof result !== 'object' || result === null || !Array.isArray(result.ips)) {
    return undefined;
  }
  const args = new Map(cniArgs.filter(Array.isArray).map((pair: unknown[]) => [String(pair[0]), String(pair[1])]));
  const ips = result.ips.flatMap((entry: { address?: unknown } | null) =>
    typeof entry?.address === 'string' ? [entry.address.split('/')[0] ?? ''] : [],
  );
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  if (namespace === undefined || name === undefined || ips.length === 0) return undefined;
  return { namespace, name, uid: args.get('K8S_POD_UID') ?? '', ips };
}

// SPDX-License-Identifier: Apache-2.0
/** Rules in a real kernel, as root: a network namespace of our own, nft in it, and what it lists. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { addressToBigint } from '../../cluster/network/addresses.ts';
import type { Table } from '../../cluster/network/nft/ruleset.ts';

const run = promisify(execFile);

/** A network namespace that lasts as long as its process. */
export interface Kernel {
  /** Carries out one transaction. */
  apply(commands: string): Promise<void>;
  /** All of a table, without counts and handles, in an order that does not depend on how it came to be. */
  list(table: Table): Promise<Listing>;
  close(): void;
}

/** By kind: `set NAME`, `chain NAME`, `counter NAME`, and the rules of each chain in order, as JSON. */
export type Listing = ReadonlyMap<string, string>;

export async function openKernel(): Promise<Kernel> {
  const child: ChildProcess = spawn('unshare', ['-n', 'sh', '-c', 'echo ready; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  if (child.stdout === null || child.pid === undefined) throw new Error('unshare cannot be started: is this root?');
  await once(child.stdout, 'data');
  const inside = ['-t', String(child.pid), '-n', 'nft'];
  return {
    apply: async (commands) => {
      const nft = spawn('nsenter', [...inside, '-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] });
      let complaint = '';
      nft.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
      nft.stdin.end(commands);
      const [code] = (await once(nft, 'close')) as [number];
      if (code !== 0) throw new Error(`nft refused: ${complaint.slice(0, 2000)}\n${commands.slice(0, 5000)}`);
    },
    list: async ({ family, name }) => {
      const args = [...inside, '-j', '-s', 'list', 'table', family, name];
      const { stdout } = await run('nsenter', args, { maxBuffer: 512 * 1024 * 1024 });
      return listing(JSON.parse(stdout) as { nftables: readonly Listed[] });
    },
    close: () => void child.kill(),
  };
}

/** What differs between the value and what the kernel has; compares names, rules by comment and count, and elements. */
export function differenceToValue(table: Table, listed: Listing): string | undefined {
  const expected = new Map<string, string>();
  for (const name of table.counters?.keys() ?? []) expected.set(`counter ${name}`, '');
  for (const [name, { elements }] of table.sets) {
    const keys = [...elements].map(([key, value]) => (value === '' ? plainKey(key) : `${plainKey(key)} : ${value}`));
    expected.set(`set ${name}`, JSON.stringify(keys.toSorted()));
  }
  for (const [name, { rules }] of table.chains) {
    expected.set(`chain ${name}`, JSON.stringify(rules.map(({ comment }) => comment ?? null)));
  }
  const got = new Map<string, string>();
  for (const [name, text] of listed) {
    if (name.startsWith('counter ')) got.set(name, '');
    if (name.startsWith('set ')) got.set(name, elementTexts(text));
    if (name.startsWith('chain ')) {
      const { rules } = JSON.parse(text) as { rules: readonly { comment?: string }[] };
      got.set(name, JSON.stringify(rules.map(({ comment }) => comment ?? null)));
    }
  }
  return firstDifference(expected, got);
}

export function firstDifference(one: Listing, other: Listing): string | undefined {
  for (const key of new Set([...one.keys(), ...other.keys()])) {
    if (one.get(key) !== other.get(key)) return `${key}: ${one.get(key)} is not ${other.get(key)}`;
  }
  return undefined;
}

type Fields = Readonly<Record<string, unknown>>;
type Listed = Readonly<Record<string, Fields>>;

function listing({ nftables }: { readonly nftables: readonly Listed[] }): Listing {
  const found = new Map<string, string>();
  const chains = new Map<string, { chain: unknown; rules: unknown[] }>();
  for (const { counter, set, map, chain, rule } of nftables) {
    if (counter !== undefined) found.set(`counter ${String(counter['name'])}`, JSON.stringify(counter['comment']));
    const elements = set ?? map;
    if (elements !== undefined) {
      const sorted = ((elements['elem'] ?? []) as unknown[]).map((one) => JSON.stringify(one)).toSorted();
      found.set(`set ${String(elements['name'])}`, JSON.stringify([elements['type'], elements['map'], sorted]));
    }
    if (chain !== undefined) {
      const { type, hook, prio } = chain;
      chains.set(String(chain['name']), { chain: { type, hook, prio }, rules: [] });
    }
    if (rule !== undefined) {
      const { expr, comment } = rule;
      chains.get(String(rule['chain']))?.rules.push({ expr, comment });
    }
  }
  for (const [name, content] of chains) found.set(`chain ${name}`, JSON.stringify(content));
  return found;
}

/** Elements as values have them. */
function elementTexts(text: string): string {
  const [, , elements] = JSON.parse(text) as [unknown, unknown, readonly string[]];
  const texts = elements.map((json) => {
    const element: unknown = JSON.parse(json);
    if (!Array.isArray(element)) return keyText(element);
    const [key, verdict] = element as [unknown, Readonly<Record<string, { target: string } | null>>];
    const [[word, target] = []] = Object.entries(verdict);
    return `${keyText(key)} : ${target ? `${word} ${target.target}` : word}`;
  });
  return JSON.stringify(texts.toSorted());
}

function keyText(key: unknown): string {
  if (typeof key !== 'object' || key === null) return plainKey(String(key));
  return plainKey((key as { concat: readonly unknown[] }).concat.join(' . '));
}

/** Addresses have more than one spelling. */
function plainKey(key: string): string {
  return key
    .split(' . ')
    .map((part) => (part.includes(':') ? addressToBigint(part).toString(16) : part))
    .join(' . ');
}

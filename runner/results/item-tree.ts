// SPDX-License-Identifier: Apache-2.0
/** Reads the Item trees (`sonobuoy_results.yaml`) of any Sonobuoy archive, old dialects included. Untrusted input: shapes are checked, depth is bounded. */
import { parse } from 'yaml';
import { messageOf, Problem } from '../problem.ts';
import type { ResultSource } from './result-source.ts';

export interface ItemNode {
  readonly name: string;
  readonly status: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly details: Readonly<Record<string, unknown>>;
  readonly items: readonly ItemNode[];
}

const depthMax = 32;
const resultsFile = 'sonobuoy_results.yaml';

/** Plugins with results, those that meta/info.json names first and in its order. */
export function pluginsOf(source: ResultSource): string[] {
  const present = source
    .list()
    .map((path) => /^plugins\/([^/]+)\/sonobuoy_results\.yaml$/.exec(path)?.[1])
    .filter((name) => name !== undefined);
  const named = jsonOf(source, 'meta/info.json');
  const order =
    isObject(named) && Array.isArray(named['plugins'])
      ? named['plugins'].filter((name) => present.includes(String(name))).map(String)
      : [];
  return [...order, ...present.filter((name) => !order.includes(name))];
}

export function readItemTree(source: ResultSource, plugin: string): ItemNode {
  const path = `plugins/${plugin}/${resultsFile}`;
  const content = source.read(path);
  if (content === undefined) {
    const known = pluginsOf(source);
    throw new Problem(
      `${source.path} has no results of a plugin "${plugin}"`,
      known.length === 0
        ? 'It holds no plugin results at all; is it a Sonobuoy archive?'
        : `Plugins in it: ${known.join(', ')}.`,
    );
  }
  try {
    return decodeItem(parse(new TextDecoder().decode(content), { maxAliasCount: 100 }), 0);
  } catch (error) {
    throw new Problem(
      `${source.path}: ${path} is unreadable: ${messageOf(error)}`,
      'The archive is damaged; get it again.',
      { cause: error },
    );
  }
}

/** Depth first, with the names of all that is above. */
export function* leavesOf(
  item: ItemNode,
  path: readonly string[] = [],
): Generator<{ readonly item: ItemNode; readonly path: readonly string[] }> {
  if (item.items.length === 0) {
    yield { item, path };
    return;
  }
  for (const inner of item.items) yield* leavesOf(inner, [...path, item.name]);
}

export function findItem(item: ItemNode, name: string): ItemNode | undefined {
  if (item.name === name) return item;
  for (const inner of item.items) {
    const found = findItem(inner, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

export function jsonOf(source: ResultSource, path: string): unknown {
  const content = source.read(path);
  if (content === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(content)) as unknown;
  } catch {
    return undefined;
  }
}

function decodeItem(value: unknown, depth: number): ItemNode {
  if (depth > depthMax) throw new Error(`it is nested deeper than ${depthMax}`);
  if (!isObject(value)) throw new Error('an item is not a mapping');
  const items = value['items'] ?? [];
  if (!Array.isArray(items)) throw new Error('items is not a list');
  const meta = isObject(value['meta']) ? value['meta'] : isObject(value['metadata']) ? value['metadata'] : {};
  return {
    name: scalar(value['name']),
    status: scalar(value['status']),
    meta: Object.fromEntries(Object.entries(meta).map(([name, text]) => [name, scalar(text).replaceAll('\\', '/')])),
    details: isObject(value['details']) ? value['details'] : {},
    items: items.map((inner) => decodeItem(inner, depth + 1)),
  };
}

function scalar(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? '' : String(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// SPDX-License-Identifier: Apache-2.0
/** Reads the Item trees of any Sonobuoy archive, old dialects and plain JUnit included. Untrusted input: shapes are checked, depth is bounded. */
import { parse } from 'yaml';
import { messageOf, Problem } from '../problem.ts';
import { readJunit } from './junit-reader.ts';
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

/** Plugins with results, those that meta/info.json names first and in its order. Loose JUnit files count as one plugin called `junit`. */
export function pluginsOf(source: ResultSource): string[] {
  const folders = source
    .list()
    .map((path) => (isResult(path) ? (/^plugins\/([^/]+)\//.exec(path)?.[1] ?? looseJunit) : undefined));
  const present = [...new Set(folders.filter((name) => name !== undefined))];
  const named = jsonOf(source, 'meta/info.json');
  const order =
    isObject(named) && Array.isArray(named['plugins'])
      ? named['plugins'].filter((name) => present.includes(String(name))).map(String)
      : [];
  return [...order, ...present.filter((name) => !order.includes(name))];
}

const looseJunit = 'junit';

function isResult(path: string): boolean {
  return /^plugins\/[^/]+\/sonobuoy_results\.yaml$/.test(path) || isJunit(path);
}

function isJunit(path: string): boolean {
  return /(^|\/)(junit|TEST-)[^/]*\.xml$/.test(path);
}

/** The tree as Sonobuoy wrote it, or, where there is none, made from the JUnit files of the plugin. */
export function readItemTree(source: ResultSource, plugin: string): ItemNode {
  const path = `plugins/${plugin}/${resultsFile}`;
  const content = source.read(path);
  if (content === undefined) return treeFromJunit(source, plugin);
  try {
    return decodeItem(parse(new TextDecoder().decode(content), { maxAliasCount: 100 }), 0);
  } catch (error) {
    throw unreadable(source, path, error);
  }
}

function treeFromJunit(source: ResultSource, plugin: string): ItemNode {
  const folder = `plugins/${plugin}/`;
  const files = source
    .list()
    .filter(
      (path) => isJunit(path) && (path.startsWith(folder) || (plugin === looseJunit && !path.startsWith('plugins/'))),
    );
  if (files.length === 0) {
    const known = pluginsOf(source);
    throw new Problem(
      `${source.path} has no results of a plugin "${plugin}"`,
      known.length === 0
        ? 'It holds no plugin results at all; is it a Sonobuoy archive?'
        : `Plugins in it: ${known.join(', ')}.`,
    );
  }
  const items = files.map((path) => {
    try {
      return readJunit(
        new TextDecoder().decode(source.read(path)),
        path.startsWith(folder) ? path.slice(folder.length) : path,
      );
    } catch (error) {
      throw unreadable(source, path, error);
    }
  });
  const status = items.some((item) => item.status === 'failed')
    ? 'failed'
    : (items.find((item) => item.status !== 'passed')?.status ?? 'passed');
  return { name: plugin, status, meta: { type: 'summary' }, details: {}, items };
}

function unreadable(source: ResultSource, path: string, error: unknown): Problem {
  return new Problem(
    `${source.path}: ${path} is unreadable: ${messageOf(error)}`,
    'The archive is damaged; get it again.',
    { cause: error },
  );
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

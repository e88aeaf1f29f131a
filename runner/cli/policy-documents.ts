// SPDX-License-Identifier: Apache-2.0
/** Where `plumb policy` gets objects from: YAML and JSON files, or a cluster. Either way they come as the API writes them, each with its origin. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LineCounter, parseAllDocuments } from 'yaml';
import { messageOf, Problem } from '../problem.ts';

export interface SourceDocument {
  readonly kind: string;
  readonly group: string;
  readonly namespace: string;
  readonly name: string;
  readonly content: Readonly<Record<string, unknown>>;
  /** In words: `policies/web.yaml, document 2`, or the server. */
  readonly origin: string;
  /** False for an object of a file that leaves its namespace to whoever applies it; `default` is then taken. */
  readonly namespaceGiven: boolean;
}

const clusterScoped = new Set(['Namespace', 'Node', 'ClusterNetworkPolicy']);

/** Reads files, and of directories every .yaml, .yml and .json below them. Throws a Problem that names file, document and place. */
export function readDocuments(paths: readonly string[]): SourceDocument[] {
  return paths.flatMap((path) => filesOf(path)).flatMap((file) => documentsOf(file, readFileSync(file, 'utf8')));
}

/** Lists are opened; what is no Kubernetes object at all is an error. */
export function documentsOf(file: string, text: string): SourceDocument[] {
  const lineCounter = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter });
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((document, index) => {
    const origin = `${file}, document ${index + 1}`;
    const [error] = document.errors;
    if (error !== undefined) {
      const { line } = lineCounter.linePos(error.pos[0]);
      const [reason = ''] = error.message.split(/ at line \d+/);
      throw new Problem(`${origin}: line ${line}: ${reason.trim()}`, 'Correct the YAML there.');
    }
    const content: unknown = document.toJS();
    if (content === null || content === undefined) return [];
    if (!isRecord(content)) throw new Problem(`${origin} is not a Kubernetes object`, 'Leave the file out.');
    return toDocuments(content, origin);
  });
}

export function toDocuments(content: Readonly<Record<string, unknown>>, origin: string): SourceDocument[] {
  const { kind, apiVersion, items } = content;
  if (typeof kind !== 'string' || typeof apiVersion !== 'string') {
    const field = typeof kind === 'string' ? 'apiVersion' : 'kind';
    throw new Problem(`${origin}: ${field} is missing`, 'Only Kubernetes objects can be read; leave the file out.');
  }
  if (kind.endsWith('List') && Array.isArray(items)) {
    return items.flatMap((item: unknown, index) => {
      if (!isRecord(item)) throw new Problem(`${origin}: items[${index}] is not an object`, 'Correct the list.');
      // Items of a typed list leave out what the list says.
      const one = { apiVersion, ...(kind !== 'List' && { kind: kind.slice(0, -'List'.length) }), ...item };
      return toDocuments(one, `${origin}, item ${index + 1}`);
    });
  }
  const metadata = isRecord(content['metadata']) ? content['metadata'] : {};
  const { name, namespace } = metadata;
  if (typeof name !== 'string') {
    throw new Problem(`${origin}: ${kind}: metadata.name is missing`, 'Give the object a name.');
  }
  const given = typeof namespace === 'string' && namespace !== '';
  return [
    {
      kind,
      group: apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '',
      name,
      namespace: clusterScoped.has(kind) ? '' : given ? namespace : 'default',
      namespaceGiven: given || clusterScoped.has(kind),
      content,
      origin,
    },
  ];
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function filesOf(path: string): string[] {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (error) {
    throw new Problem(`${path} cannot be read: ${messageOf(error)}`, 'Name a file or a directory with -f PATH.');
  }
  if (!isDirectory) return [path];
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ya?ml|json)$/.test(name))
    .toSorted()
    .map((name) => join(path, name));
  if (files.length === 0) throw new Problem(`${path} has no .yaml, .yml or .json file`, 'Name another directory.');
  return files;
}

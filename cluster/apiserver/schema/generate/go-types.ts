// SPDX-License-Identifier: Apache-2.0
// Reads Go API type declarations (the `types.go` files of k8s.io/api and k8s.io/apimachinery) into plain data.
// It understands the subset of Go that those files use: struct, alias and constant declarations with doc comments,
// `+marker` lines and struct tags. Anything else is skipped, never guessed.

/** A Go type expression: a scalar, a reference to a named type, or a composite of these. */
export type GoType =
  | { readonly kind: 'scalar'; readonly name: string }
  | { readonly kind: 'ref'; readonly package: string; readonly name: string }
  | { readonly kind: 'list'; readonly of: GoType }
  | { readonly kind: 'map'; readonly of: GoType };

export interface GoField {
  readonly name: string;
  /** Name in JSON; the empty string for an inlined (embedded) struct. */
  readonly json: string;
  readonly type: GoType;
  readonly pointer: boolean;
  readonly omitempty: boolean;
  readonly doc: string;
  /** `+key=value` comment lines, as written after the plus sign. */
  readonly markers: readonly string[];
  /** Protobuf field number, where the struct tag has one. */
  readonly protobuf?: number;
}

export interface GoDeclaration {
  readonly name: string;
  readonly doc: string;
  readonly markers: readonly string[];
  /** Fields of a struct, or undefined for an alias. */
  readonly fields?: readonly GoField[];
  /** The aliased type, for `type X string`. */
  readonly alias?: GoType;
}

export interface GoPackage {
  /** Import path, e.g. `k8s.io/api/core/v1`. */
  readonly path: string;
  readonly types: ReadonlyMap<string, GoDeclaration>;
  /** Constants with a named string type: type name to its values in source order. */
  readonly enums: ReadonlyMap<string, readonly string[]>;
  /** The same constants by their own name. */
  readonly constants: ReadonlyMap<string, string>;
}

const SCALARS = new Set([
  'string',
  'bool',
  'int',
  'int32',
  'int64',
  'uint32',
  'uint64',
  'float32',
  'float64',
  'byte',
  'any',
]);

/** Parses the sources of one package. `sources` are file contents; order does not matter. */
export function parseGoPackage(path: string, sources: readonly string[]): GoPackage {
  const types = new Map<string, GoDeclaration>();
  const enums = new Map<string, string[]>();
  const constants = new Map<string, string>();
  for (const source of sources) {
    const imports = parseImports(source);
    const lines = source
      .replaceAll('interface{}', 'any')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .split('\n');
    let comment: string[] = [];
    for (let i = 0; i < lines.length; i++) {
      const line = (lines[i] ?? '').trimEnd();
      if (line.startsWith('//')) {
        comment.push(line.replace(/^\/\/ ?/, ''));
        continue;
      }
      const struct = /^type (\w+) struct \{(\})?$/.exec(line);
      if (struct?.[1] !== undefined) {
        const body: string[] = [];
        if (struct[2] === undefined) {
          for (i++; i < lines.length && lines[i] !== '}'; i++) body.push(lines[i] ?? '');
        }
        const { doc, markers } = splitComment(comment);
        types.set(struct[1], { name: struct[1], doc, markers, fields: parseFields(body, path, imports) });
      } else {
        const alias = /^type (\w+) =? ?([\w.[\]*]+)$/.exec(line);
        if (alias?.[1] !== undefined && alias[2] !== undefined) {
          const { doc, markers } = splitComment(comment);
          types.set(alias[1], { name: alias[1], doc, markers, alias: parseType(alias[2], path, imports).type });
        }
        const constant =
          /^\s+(\w+)\s+(\w+)\s*=\s*"([^"]*)"/.exec(line) ?? /^const (\w+)\s+(\w+)\s*=\s*"([^"]*)"/.exec(line);
        const [, name, typeName, value] = constant ?? [];
        if (name !== undefined && typeName !== undefined && value !== undefined) {
          constants.set(name, value);
          const values = enums.get(typeName) ?? [];
          values.push(value);
          enums.set(typeName, values);
        }
      }
      comment = [];
    }
  }
  return { path, types, enums, constants };
}

function parseImports(source: string): ReadonlyMap<string, string> {
  const imports = new Map<string, string>();
  for (const match of source.matchAll(/^\s+(?:(\w+) )?"([\w./-]+)"$/gm)) {
    const path = match[2] ?? '';
    imports.set(match[1] ?? path.split('/').at(-1) ?? path, path);
  }
  return imports;
}

function splitComment(lines: readonly string[]): { doc: string; markers: string[] } {
  const markers = lines.filter((line) => /^\s*\+/.test(line)).map((line) => line.trim().slice(1));
  const end = lines.findIndex((line) => line.trim() === '---');
  const prose = (end === -1 ? lines : lines.slice(0, end)).filter(
    (line) => !/^\s*\+/.test(line) && !/^\s*TODO/.test(line),
  );
  return { doc: prose.join('\n').trim(), markers };
}

function parseFields(body: readonly string[], path: string, imports: ReadonlyMap<string, string>): GoField[] {
  const fields: GoField[] = [];
  let comment: string[] = [];
  for (const raw of body) {
    const line = raw.trim();
    if (line.startsWith('//')) {
      comment.push(line.replace(/^\/\/ ?/, ''));
      continue;
    }
    if (line === '') {
      // A blank line between a comment and its field does not detach it in upstream's own generators.
      continue;
    }
    const match = /^(?:(\w+)\s+)?([\w.[\]*]+)\s*(?:`(.*)`)?/.exec(line);
    if (match?.[2] === undefined) continue;
    const tag = match[3] ?? '';
    const json = /json:"([^"]*)"/.exec(tag)?.[1] ?? '';
    const { doc, markers } = splitComment(comment);
    comment = [];
    if (json === '-') continue;
    const [jsonName = '', ...options] = json.split(',');
    const { type, pointer } = parseType(match[2], path, imports);
    const number = /protobuf:"[^",]*,(\d+)/.exec(tag)?.[1];
    fields.push({
      name: match[1] ?? match[2].split('.').at(-1) ?? match[2],
      json: options.includes('inline') || (match[1] === undefined && jsonName === '') ? '' : jsonName,
      type,
      pointer,
      omitempty: options.includes('omitempty') || options.includes('omitzero'),
      doc,
      markers: [
        ...markers,
        ...[...tag.matchAll(/(patchStrategy|patchMergeKey):"([^"]*)"/g)].map((m) => `${m[1]}=${m[2]}`),
      ].filter((marker, index, all) => all.indexOf(marker) === index),
      ...(number === undefined ? {} : { protobuf: Number(number) }),
    });
  }
  return fields;
}

function parseType(
  text: string,
  path: string,
  imports: ReadonlyMap<string, string>,
): { type: GoType; pointer: boolean } {
  if (text.startsWith('*')) return { type: parseType(text.slice(1), path, imports).type, pointer: true };
  if (text === '[]byte') return { type: { kind: 'scalar', name: 'bytes' }, pointer: false };
  if (text.startsWith('[]'))
    return { type: { kind: 'list', of: parseType(text.slice(2), path, imports).type }, pointer: false };
  const map = /^map\[[\w.]+\](.*)$/.exec(text);
  if (map?.[1] !== undefined)
    return { type: { kind: 'map', of: parseType(map[1], path, imports).type }, pointer: false };
  if (SCALARS.has(text)) return { type: { kind: 'scalar', name: text }, pointer: false };
  const [left = '', right] = text.split('.');
  if (right === undefined) return { type: { kind: 'ref', package: path, name: left }, pointer: false };
  return { type: { kind: 'ref', package: imports.get(left) ?? left, name: right }, pointer: false };
}

// SPDX-License-Identifier: Apache-2.0
// Reads the hand-written schema data (types-extra.json) back into the form that the Go parser gives, so that
// cluster/machinery/api-types.ts has these types too.
import type { FieldData, SchemaData } from '../data.ts';
import type { GoDeclaration, GoField, GoPackage, GoType } from './go-types.ts';

const META_PREFIX = 'io.k8s.apimachinery.pkg.apis.meta.v1.';
const META = 'k8s.io/apimachinery/pkg/apis/meta/v1';

/** Types with a shape of their own, by the Go types that have it. */
const WELL_KNOWN: Readonly<Record<string, GoType>> = {
  time: { kind: 'ref', package: META, name: 'Time' },
  json: { kind: 'scalar', name: 'any' },
};
const JSON_SCHEMA_OR = 'schemaOr';

export function extraPackages(data: SchemaData): GoPackage[] {
  return Object.entries(data).map(([prefix, { types }]) => {
    const path = prefix.replace(/^io\.k8s\./, 'k8s.io/').replaceAll('.', '/');
    const declarations = Object.entries(types).map(([name, type]): GoDeclaration => {
      if ('alias' in type) return { name, doc: '', markers: [], alias: parseText(type.alias, path) };
      const inline = type.object === true ? [typeMeta()] : [];
      return { name, doc: '', markers: [], fields: [...inline, ...type.fields.map((field) => goField(field, path))] };
    });
    const named = new Map(declarations.map((declaration) => [declaration.name, declaration]));
    return { path, types: named, enums: new Map(), constants: new Map() };
  });
}

function typeMeta(): GoField {
  const type: GoType = { kind: 'ref', package: META, name: 'TypeMeta' };
  return { name: 'TypeMeta', json: '', type, pointer: false, omitempty: false, doc: '', markers: [] };
}

function goField([json, text, flags]: FieldData, path: string): GoField {
  return {
    name: json,
    json,
    type: parseText(text, path),
    pointer: flags.includes('p'),
    omitempty: flags.includes('o'),
    doc: '',
    markers: [],
  };
}

function parseText(text: string, path: string): GoType {
  if (text.startsWith('[]')) return { kind: 'list', of: parseText(text.slice(2), path) };
  if (text.startsWith('map:')) return { kind: 'map', of: parseText(text.slice(4), path) };
  const known = WELL_KNOWN[text];
  if (known !== undefined) return known;
  if (text.startsWith(JSON_SCHEMA_OR)) return { kind: 'scalar', name: 'any' };
  if (text.startsWith(META_PREFIX)) return { kind: 'ref', package: META, name: text.slice(META_PREFIX.length) };
  return /^[a-z]/.test(text) ? { kind: 'scalar', name: text } : { kind: 'ref', package: path, name: text };
}

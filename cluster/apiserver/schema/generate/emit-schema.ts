// SPDX-License-Identifier: Apache-2.0
// Turns parsed Go packages into the schema data of the API server: `types.json` (shapes, needed at once) and `docs.json`
// (descriptions, loaded when somebody asks for OpenAPI). The layout is documented in ../data.ts, which reads it.
import type { AliasData, FieldData, FieldFacts, StructData } from '../data.ts';
import type { GoDeclaration, GoField, GoPackage, GoType } from './go-types.ts';

/** Go types that have a JSON shape of their own instead of the one their fields suggest. */
const WELL_KNOWN: Readonly<Record<string, string>> = {
  'k8s.io/apimachinery/pkg/apis/meta/v1.Time': 'time',
  'k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime': 'microTime',
  'k8s.io/apimachinery/pkg/apis/meta/v1.Duration': 'duration',
  'k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1': 'fieldsV1',
  'k8s.io/apimachinery/pkg/api/resource.Quantity': 'quantity',
  'k8s.io/apimachinery/pkg/util/intstr.IntOrString': 'intOrString',
  'k8s.io/apimachinery/pkg/runtime.RawExtension': 'rawExtension',
  'k8s.io/apimachinery/pkg/runtime.Object': 'rawExtension',
  'k8s.io/apimachinery/pkg/types.UID': 'string',
  'k8s.io/apimachinery/pkg/types.NodeName': 'string',
  'k8s.io/apimachinery/pkg/types.NamespacedName': 'string',
};

/**
 * @param groups API group of each package, in the same order.
 * @returns the texts of types.json and docs.json, one line per type.
 */
export function emitSchema(packages: readonly GoPackage[], groups: readonly string[]): { types: string; docs: string } {
  const types: string[] = [];
  const docs: string[] = [];
  for (const [index, pkg] of packages.entries()) {
    const name = definitionPrefix(pkg.path);
    const lines: string[] = [];
    for (const declaration of pkg.types.values()) {
      if (WELL_KNOWN[`${pkg.path}.${declaration.name}`] !== undefined) continue;
      if (declaration.markers.includes('k8s:openapi-gen=false')) continue;
      const data = declaration.fields === undefined ? aliasData(declaration, pkg) : structData(declaration, pkg);
      lines.push(`      ${JSON.stringify(declaration.name)}: ${JSON.stringify(data)}`);
      const fieldDocs = (declaration.fields ?? [])
        .filter((field) => field.json !== '' && field.doc !== '')
        .map((field) => [field.json, proseOf(field.doc)]);
      const key = JSON.stringify(`${name}.${declaration.name}`);
      docs.push(`  ${key}: ${JSON.stringify([proseOf(declaration.doc), Object.fromEntries(fieldDocs)])}`);
    }
    const version = pkg.path.split('/').at(-1) ?? '';
    types.push(
      `  ${JSON.stringify(name)}: {\n    "group": ${JSON.stringify(groups[index])}, "version": ${JSON.stringify(version)},\n    "types": {\n${lines.join(',\n')}\n    }\n  }`,
    );
  }
  return { types: `{\n${types.join(',\n')}\n}\n`, docs: `{\n${docs.join(',\n')}\n}\n` };
}

/** `k8s.io/api/core/v1` -> `io.k8s.api.core.v1`. */
function definitionPrefix(path: string): string {
  const [host = '', ...rest] = path.split('/');
  return [...host.split('.').toReversed(), ...rest].join('.');
}

function aliasData(declaration: GoDeclaration, pkg: GoPackage): AliasData {
  const values = declaration.markers.includes('enum') ? pkg.enums.get(declaration.name) : undefined;
  const alias = declaration.alias === undefined ? 'any' : typeText(declaration.alias, pkg);
  return values === undefined ? { alias } : { alias, enum: [...new Set(values)].toSorted() };
}

function structData(declaration: GoDeclaration, pkg: GoPackage): StructData {
  const fields: FieldData[] = [];
  const inline: Array<readonly [string, number]> = [];
  let object = false;
  for (const field of declaration.fields ?? []) {
    if (field.json === '') {
      const name = typeText(field.type, pkg);
      if (name === 'TypeMeta' || name.endsWith('.TypeMeta')) object = true;
      inline.push([name, field.protobuf ?? 0]);
      continue;
    }
    fields.push(fieldData(field, pkg));
  }
  return {
    fields,
    ...(inline.length === 0 ? {} : { inline }),
    ...(object ? { object: true as const } : {}),
    ...(declaration.markers.includes('structType=atomic') || declaration.markers.includes('mapType=atomic')
      ? { atomic: true as const }
      : {}),
  };
}

function fieldData(field: GoField, pkg: GoPackage): FieldData {
  const optional = field.markers.includes('optional') || (field.omitempty && !field.markers.includes('required'));
  const flags = `${optional ? '' : 'r'}${field.omitempty ? 'o' : ''}${field.pointer ? 'p' : ''}`;
  const facts = fieldFacts(field, pkg);
  const base = [field.json, typeText(field.type, pkg), flags, field.protobuf ?? 0] as const;
  return facts === undefined ? base : [...base, facts];
}

function fieldFacts(field: GoField, pkg: GoPackage): FieldFacts | undefined {
  const value = (name: string): string | undefined =>
    field.markers.find((marker) => marker.startsWith(`${name}=`))?.slice(name.length + 1);
  const keys = field.markers
    .filter((marker) => marker.startsWith('listMapKey='))
    .map((marker) => marker.slice('listMapKey='.length));
  const atomic = value('structType') === 'atomic' || value('mapType') === 'atomic';
  const listType = value('listType');
  const defaultValue = value('default');
  const facts: FieldFacts = {
    ...(listType === undefined ? {} : { list: listType as 'atomic' | 'set' | 'map' }),
    ...(keys.length === 0 ? {} : { keys }),
    ...(atomic ? { atomic: true as const } : {}),
    ...(value('patchMergeKey') === undefined ? {} : { mergeKey: value('patchMergeKey') ?? '' }),
    ...(value('patchStrategy') === undefined ? {} : { strategy: value('patchStrategy') ?? '' }),
    ...(defaultValue === undefined ? {} : { default: defaultOf(defaultValue, pkg) }),
  };
  return Object.keys(facts).length === 0 ? undefined : facts;
}

function defaultOf(text: string, pkg: GoPackage): unknown {
  const constant = /^ref\((\w+)\)$/.exec(text)?.[1];
  if (constant === undefined) return JSON.parse(text) as unknown;
  const value = pkg.constants.get(constant);
  if (value === undefined) throw new Error(`+default=${text} in ${pkg.path}: no such constant`);
  return value;
}

function typeText(type: GoType, pkg: GoPackage): string {
  switch (type.kind) {
    case 'scalar':
      return type.name;
    case 'list':
      return `[]${typeText(type.of, pkg)}`;
    case 'map':
      return `map:${typeText(type.of, pkg)}`;
    case 'ref': {
      const known = WELL_KNOWN[`${type.package}.${type.name}`];
      if (known !== undefined) return known;
      return type.package === pkg.path ? type.name : `${definitionPrefix(type.package)}.${type.name}`;
    }
  }
}

/** Joins wrapped lines into paragraphs, as generated documentation has them. */
function proseOf(doc: string): string {
  return doc
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.split('\n').map((line) => line.trimEnd()))
    .map((lines) => (lines.some((line) => /^\s|^[-*] /.test(line)) ? lines.join('\n') : lines.join(' ')))
    .join('\n\n')
    .trim();
}

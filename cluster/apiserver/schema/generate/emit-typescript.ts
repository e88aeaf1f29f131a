// SPDX-License-Identifier: Apache-2.0
// Turns parsed Go packages into TypeScript interfaces. Field docs are left out: they live in the OpenAPI schema.
import type { GoDeclaration, GoPackage, GoType } from './go-types.ts';

/** Go types that have a JSON shape of their own instead of the one their fields suggest. */
const WELL_KNOWN: Readonly<Record<string, string>> = {
  'k8s.io/apimachinery/pkg/apis/meta/v1.Time': 'string',
  'k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime': 'string',
  'k8s.io/apimachinery/pkg/apis/meta/v1.Duration': 'string',
  'k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1': 'Record<string, unknown>',
  'k8s.io/apimachinery/pkg/api/resource.Quantity': 'Quantity',
  'k8s.io/apimachinery/pkg/util/intstr.IntOrString': 'IntOrString',
  'k8s.io/apimachinery/pkg/runtime.RawExtension': 'Record<string, unknown>',
  'k8s.io/apimachinery/pkg/types.UID': 'string',
  'k8s.io/apimachinery/pkg/types.NodeName': 'string',
  'k8s.io/apimachinery/pkg/types.NamespacedName': 'string',
};

/**
 * One module with an interface per struct. A type name that several packages declare is prefixed with the group (and
 * version) of the later package: `Event` is core's, `EventsV1Event` that of events.k8s.io/v1.
 * @param packages in order of precedence for unprefixed names.
 */
export function emitTypeScript(packages: readonly GoPackage[]): string {
  const names = assignNames(packages);
  const blocks: string[] = [];
  for (const pkg of packages) {
    for (const declaration of pkg.types.values()) {
      const id = `${pkg.path}.${declaration.name}`;
      if (WELL_KNOWN[id] !== undefined) continue;
      blocks.push(emitDeclaration(declaration, pkg, names));
    }
  }
  return `// SPDX-License-Identifier: Apache-2.0
// Generated from the Go types of k8s.io/api and k8s.io/apimachinery (Apache-2.0, see NOTICE). Do not edit:
// \`npm run generate\` writes it anew.

/** A fixed-point number with a suffix, such as \`250m\` or \`1Gi\`. */
export type Quantity = string;
export type IntOrString = number | string;

${blocks.join('\n\n')}
`;
}

function assignNames(packages: readonly GoPackage[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  const taken = new Set<string>();
  for (const pkg of packages) {
    const [group = '', version = ''] = pkg.path.split('/').slice(-2);
    for (const name of pkg.types.keys()) {
      const prefix = capitalise(group) + capitalise(version);
      const chosen = taken.has(name) ? prefix + name : name;
      taken.add(chosen);
      names.set(`${pkg.path}.${name}`, chosen);
    }
  }
  return names;
}

function emitDeclaration(declaration: GoDeclaration, pkg: GoPackage, names: ReadonlyMap<string, string>): string {
  const name = names.get(`${pkg.path}.${declaration.name}`) ?? declaration.name;
  if (declaration.fields === undefined) {
    const values = pkg.enums.get(declaration.name);
    const plain = declaration.alias?.kind === 'scalar' && declaration.alias.name === 'string';
    if (plain && values !== undefined && declaration.markers.includes('enum')) {
      const unique = [...new Set(values)];
      return `export type ${name} = ${unique.map((value) => `'${value}'`).join(' | ')};`;
    }
    return `export type ${name} = ${declaration.alias === undefined ? 'unknown' : typeText(declaration.alias, names)};`;
  }
  const parents: string[] = [];
  const lines: string[] = [];
  for (const field of declaration.fields) {
    if (field.json === '') {
      parents.push(typeText(field.type, names));
      continue;
    }
    // Objects come from JSON and from callers that leave defaults out, so only what is always written is required.
    const required =
      !field.omitempty && !field.pointer && field.json !== 'status' && !field.markers.includes('optional');
    lines.push(
      `  ${field.json.match(/^\w+$/) ? field.json : `'${field.json}'`}${required ? '' : '?'}: ${typeText(field.type, names)};`,
    );
  }
  const isObject = parents.includes('TypeMeta');
  const body = lines.map((line) =>
    isObject ? line.replace(/^ {2}metadata\?: ObjectMeta/, '  metadata: ObjectMeta') : line,
  );
  const heritage = parents.length === 0 ? '' : ` extends ${parents.join(', ')}`;
  return `export interface ${name}${heritage} {${body.length === 0 ? '' : `\n${body.join('\n')}\n`}}`;
}

function typeText(type: GoType, names: ReadonlyMap<string, string>): string {
  switch (type.kind) {
    case 'scalar':
      if (type.name === 'string' || type.name === 'bytes') return 'string';
      if (type.name === 'bool') return 'boolean';
      if (type.name === 'any') return 'unknown';
      return 'number';
    case 'ref': {
      const id = `${type.package}.${type.name}`;
      return WELL_KNOWN[id] ?? names.get(id) ?? 'unknown';
    }
    case 'list': {
      const inner = typeText(type.of, names);
      return inner.includes('|') || inner.includes(' ') ? `Array<${inner}>` : `${inner}[]`;
    }
    case 'map':
      return `Record<string, ${typeText(type.of, names)}>`;
  }
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// SPDX-License-Identifier: Apache-2.0
// What holds for every declaration: it names a schema, no other has its name, and no object that the schema lets through
// makes it throw.
import { expect } from 'chai';
import fc from 'fast-check';
import { typeByName } from '../schema/schema.ts';
import type { TypeSchema } from '../schema/schema.ts';
import { createDefinitions } from './catalogue.ts';
import type { KubeObject, ResourceDefinition } from './definition.ts';
import { testConfig, testContext } from './testing.ts';

const definitions = createDefinitions(testConfig);

describe('catalogue', () => {
  it('declares each resource once, with a schema for each version', () => {
    const names = definitions.map(({ group, plural }) => `${plural}.${group}`);
    expect(new Set(names).size).to.equal(names.length);
    const missing = definitions.flatMap(({ versions }) =>
      versions.map(({ schema }) => schema).filter((schema) => typeByName(schema) === undefined),
    );
    expect(missing).to.deep.equal([]);
  });

  for (const definition of definitions.filter(({ review }) => review === undefined)) {
    it(`${definition.plural}.${definition.group} takes whatever the schema lets through`, () => {
      exercise(definition, {});
      exercise(definition, { spec: {} });
      fc.assert(
        fc.property(objectOf(definition.versions[0].schema, 6), (body) => {
          exercise(definition, body as Record<string, unknown>);
        }),
        { numRuns: 25 },
      );
    });
  }
});

function exercise(definition: ResourceDefinition, body: Record<string, unknown>): void {
  const object = {
    ...structuredClone(body),
    apiVersion: 'v1',
    kind: definition.kind,
    metadata: { name: 'x' },
  } as KubeObject;
  const context = testContext();
  definition.default?.(object);
  definition.prepareForCreate?.(object, context);
  definition.validate?.(object, context);
  const old = structuredClone(object);
  definition.prepareForUpdate?.(object, old, context);
  definition.validateUpdate?.(object, old, context);
  definition.status?.prepareForUpdate?.(object, old, context);
  definition.status?.validateUpdate?.(object, old, context);
  for (const view of Object.values(definition.views ?? {})) {
    view.prepareForUpdate?.(object, old, context);
    view.validateUpdate?.(object, old, context);
  }
  definition.selectableFields?.(object);
  const cells = definition.cells?.(object, Date.now()) ?? [];
  expect(cells.length).to.equal(definition.columns?.length);
  expect(cells.filter((cell) => cell === undefined)).to.deep.equal([]);
}

/** Any JSON of the type, with every field now and then left out, null-free as after decoding. */
function objectOf(schemaName: string, depth: number): fc.Arbitrary<unknown> {
  const type = typeByName(schemaName);
  return type === undefined ? fc.constant({}) : valueOf(type, depth);
}

function valueOf(type: TypeSchema, depth: number): fc.Arbitrary<unknown> {
  switch (type.shape) {
    case 'struct': {
      if (depth === 0) {
        return fc.constant({});
      }
      const fields = [...type.fields].filter(([name]) => !['apiVersion', 'kind', 'metadata'].includes(name));
      const shown = fields.map(([name, field]): [string, fc.Arbitrary<unknown>] => [
        name,
        valueOf(field.type, depth - 1),
      ]);
      return fc.record(Object.fromEntries(shown), { requiredKeys: [] });
    }
    case 'list':
      return type.element === undefined || depth === 0
        ? fc.constant([])
        : fc.array(valueOf(type.element, depth - 1), { maxLength: 2 });
    case 'map':
      return type.element === undefined || depth === 0
        ? fc.constant({})
        : fc.dictionary(
            fc.string({ maxLength: 4 }).filter((key) => key !== '__proto__'),
            valueOf(type.element, depth - 1),
            { maxKeys: 2 },
          );
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return fc.integer();
    case 'quantity':
      return fc.constantFrom('1', '100m', '1Gi', '-1', 'much');
    case 'intOrString':
      return fc.oneof(fc.integer(), fc.string({ maxLength: 4 }));
    case 'time':
    case 'microTime':
      return fc.constantFrom('2026-01-01T00:00:00Z');
    case 'bytes':
      return fc.constantFrom('', 'aGk=', '%');
    case 'string':
      return fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom(...(type.enum ?? ['', 'a']), '10.0.0.0/8', 'a.b/c'));
    default:
      return fc.constant({});
  }
}

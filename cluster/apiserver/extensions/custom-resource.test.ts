// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { JSONSchemaProps } from '../../machinery/api-types.ts';
import { serverSideApply } from '../patch/apply.ts';
import type { KubeObject, Registry, RequestContext, ResourceDefinition } from '../resources/definition.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import { fieldErrorBody } from '../status.ts';
import { definitionFromCrd } from './custom-resource.ts';
import { validateDefinition } from './validate-definition.ts';

const SCHEMA: JSONSchemaProps = {
  type: 'object',
  required: ['spec'],
  properties: {
    spec: {
      type: 'object',
      required: ['cronSpec'],
      properties: {
        cronSpec: { type: 'string', pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$' },
        image: { type: 'string', default: 'busybox' },
        replicas: { type: 'integer', minimum: 1, maximum: 10 },
        policy: { type: 'string', enum: ['Allow', 'Forbid'] },
        port: { 'x-kubernetes-int-or-string': true },
        note: { type: 'string', nullable: true },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        template: {
          type: 'object',
          'x-kubernetes-embedded-resource': true,
          'x-kubernetes-preserve-unknown-fields': true,
        },
        hosts: {
          type: 'array',
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
          items: {
            type: 'object',
            required: ['name'],
            properties: { name: { type: 'string' }, ip: { type: 'string', format: 'ipv4' } },
          },
        },
        labels: { type: 'object', additionalProperties: { type: 'string' } },
        choice: {
          oneOf: [{ required: ['a'] }, { required: ['b'] }],
          type: 'object',
          properties: { a: { type: 'string' }, b: { type: 'string' } },
        },
      },
      'x-kubernetes-validations': [
        {
          rule: '!has(self.replicas) || self.replicas <= 5 || self.policy == "Allow"',
          message: 'more than 5 needs policy Allow',
        },
        { rule: 'self.cronSpec == oldSelf.cronSpec', message: 'cronSpec is immutable', fieldPath: '.cronSpec' },
        {
          rule: '!has(self.hosts) || self.hosts.all(h, isIP(h.ip))',
          messageExpression: '"%d hosts, one without an address".format([size(self.hosts)])',
        },
      ],
    },
    status: { type: 'object', properties: { ready: { type: 'boolean' } } },
  },
};

describe('custom resources', () => {
  const definition = definitionOf(crd(SCHEMA));

  it('prunes what the schema does not name and says where', () => {
    const type = typeByName('com.example.stable.v1.CronTab');
    if (type === undefined) throw new Error('not registered');
    const object = cronTab({
      cronSpec: '* * * * *',
      typo: 1,
      free: { any: { thing: 1 } },
      hosts: [{ name: 'a', x: 1 }],
    });
    (object.metadata as Record<string, unknown>)['lables'] = {};
    const decoded = decodeObject(type, object, 'Strict');
    expect(decoded.unknownFields).to.have.members(['spec.typo', 'spec.hosts[0].x', 'metadata.lables']);
    expect(decoded.object['spec']).to.deep.equal({
      cronSpec: '* * * * *',
      free: { any: { thing: 1 } },
      hosts: [{ name: 'a' }],
    });
  });

  it('fills in defaults, also for a null where none is allowed', () => {
    const object = cronTab({ cronSpec: '* * * * *', image: null });
    definition.default?.(object);
    expect(object['spec']).to.deep.equal({ cronSpec: '* * * * *', image: 'busybox' });
  });

  const refusals: [string, object, string[]][] = [
    [
      'a wrong type',
      { replicas: 'three' },
      ['spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"'],
    ],
    ['a missing field', { cronSpec: undefined }, ['spec.cronSpec: Required value']],
    [
      'a number out of range',
      { replicas: 11 },
      ['spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10'],
    ],
    [
      'a value outside an enum',
      { policy: 'Maybe' },
      ['spec.policy: Unsupported value: "Maybe": supported values: "Allow", "Forbid"'],
    ],
    [
      'a text that does not match',
      { cronSpec: 'often' },
      [
        'spec.cronSpec: Invalid value: "often": spec.cronSpec in body should match \'^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$\'',
      ],
    ],
    [
      'a bad format',
      { hosts: [{ name: 'a', ip: '1.2.3' }] },
      ['spec.hosts[0].ip: Invalid value: "1.2.3": spec.hosts[0].ip in body must be of type ipv4: "1.2.3"'],
    ],
    [
      'a key that comes twice',
      { hosts: [{ name: 'a' }, { name: 'a' }] },
      ['spec.hosts[1]: Duplicate value: {"name":"a"}'],
    ],
    [
      'a null',
      { policy: null },
      ['spec.policy: Invalid value: "null": spec.policy in body must be of type string: "null"'],
    ],
    [
      'an embedded resource without a kind',
      { template: { apiVersion: 'v1' } },
      ['spec.template.kind: Required value: must not be empty'],
    ],
    [
      'a value in a map',
      { labels: { a: 1 } },
      ['spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"'],
    ],
    [
      'both of one',
      { choice: { a: '', b: '' } },
      [
        'spec.choice: Invalid value: "": "spec.choice" must validate one and only one schema (oneOf). Found 2 valid alternatives',
      ],
    ],
    [
      'a broken rule',
      { replicas: 6, policy: 'Forbid' },
      ['spec: Invalid value: "object": more than 5 needs policy Allow'],
    ],
    [
      'a rule that cannot be evaluated',
      { replicas: 6 },
      ['spec: Invalid value: "object": no such key: policy evaluating rule: more than 5 needs policy Allow'],
    ],
  ];
  for (const [name, spec, messages] of refusals) {
    it(`refuses ${name}`, () => {
      expect(problems(definition, cronTab({ cronSpec: '* * * * *', ...spec }))).to.deep.equal(messages);
    });
  }

  it('accepts what is right, int-or-strings and nulls included', () => {
    const spec = {
      cronSpec: '*/5 * * * *',
      port: 'http',
      note: null,
      replicas: 6,
      policy: 'Allow',
      hosts: [{ name: 'a', ip: '10.0.0.1' }],
    };
    expect(problems(definition, cronTab(spec))).to.deep.equal([]);
    expect(problems(definition, cronTab({ ...spec, port: 80 }))).to.deep.equal([]);
  });

  it('judges changes: transition rules, and nothing that stayed as it was', () => {
    const old = cronTab({ cronSpec: '1 * * * *', policy: 'Old' });
    expect(problems(definition, cronTab({ cronSpec: '1 * * * *', policy: 'Old', image: 'x' }), old)).to.deep.equal([]);
    expect(problems(definition, cronTab({ cronSpec: '2 * * * *', policy: 'Allow' }), old)).to.deep.equal([
      'spec.cronSpec: Invalid value: "object": cronSpec is immutable',
    ]);
  });

  it('applies list maps by key', () => {
    const schema = typeByName('com.example.stable.v1.CronTab');
    const apply = (live: KubeObject | undefined, name: string, manager: string): KubeObject => {
      const config = cronTab({ cronSpec: '* * * * *', hosts: [{ name }] });
      const result = serverSideApply({ schema, live, config, manager, force: false, now: 't' });
      if ('conflicts' in result) throw new Error('conflict');
      return result.object;
    };
    const both = apply(apply(undefined, 'a', 'alice'), 'b', 'bob');
    expect((both['spec'] as { hosts: unknown }).hosts).to.deep.equal([{ name: 'a' }, { name: 'b' }]);
  });

  it('shows defaults in what was stored before they were declared', () => {
    const [version] = definition.versions;
    expect(version.fromStorage?.(cronTab({ cronSpec: 'x' }))['spec']).to.deep.equal({
      cronSpec: 'x',
      image: 'busybox',
    });
  });

  it('selects by the fields that a version declares', () => {
    const field = (name: string): object => ({ selectableFields: [{ jsonPath: `.spec.${name}` }] });
    const both = crd(SCHEMA);
    const [v1] = both.spec.versions;
    both.spec.versions = [
      { ...v1, ...field('image') },
      { ...v1, name: 'v2', storage: false, ...field('cronSpec') },
    ] as typeof both.spec.versions;
    const fields = definitionOf(both).versions.map(({ selectableFields }) =>
      selectableFields?.(cronTab({ image: 'i' })),
    );
    expect(fields).to.deep.equal([{ 'spec.image': 'i' }, { 'spec.cronSpec': '' }]);
  });

  it('shows printer columns', () => {
    const columns = [
      { name: 'Spec', type: 'string', jsonPath: '.spec.cronSpec' },
      { name: 'Replicas', type: 'integer', jsonPath: '.spec.replicas' },
      { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
      { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    ];
    const one = definitionOf(crd(SCHEMA, { additionalPrinterColumns: columns }));
    const object = cronTab({ cronSpec: '* * * * *', replicas: 3 });
    object.metadata.creationTimestamp = '2026-01-01T00:00:00Z';
    object['status'] = {
      conditions: [
        { type: 'Old', status: 'False' },
        { type: 'Ready', status: 'True' },
      ],
    };
    expect(one.cells?.(object, Date.parse('2026-01-01T00:01:00Z'))).to.deep.equal([
      'tab',
      '* * * * *',
      3,
      'True',
      '60s',
    ]);
  });
});

describe('rules of CustomResourceDefinitions', () => {
  it('accepts a good one', () => {
    expect(messages(validateDefinition(crd(SCHEMA)))).to.deep.equal([]);
  });

  const mistakes: [string, JSONSchemaProps, string][] = [
    [
      'no type',
      { type: 'object', properties: { a: {} } },
      '.properties[a].type: Required value: must not be empty for specified object fields',
    ],
    [
      'a list without items',
      { type: 'object', properties: { a: { type: 'array' } } },
      '.properties[a].items: Required value: must be specified',
    ],
    [
      'both kinds of properties',
      { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: true },
      '.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive',
    ],
    [
      'a rule that does not parse',
      { type: 'object', 'x-kubernetes-validations': [{ rule: 'self.' }] },
      'x-kubernetes-validations[0].rule: Invalid value',
    ],
    [
      'a default that does not fit',
      { type: 'object', properties: { a: { type: 'integer', default: 'x' } } },
      '.properties[a].default: Invalid value: "string"',
    ],
    ['a root that is no object', { type: 'string' }, '.type: Invalid value: "string": must be object at the root'],
  ];
  for (const [name, schema, message] of mistakes) {
    it(`refuses ${name}`, () => {
      expect(messages(validateDefinition(crd(schema))).join('\n')).to.include(message);
    });
  }
});

function crd(schema: JSONSchemaProps, version: object = {}) {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'crontabs.stable.example.com' },
    spec: {
      group: 'stable.example.com',
      scope: 'Namespaced',
      names: { plural: 'crontabs', singular: 'crontab', kind: 'CronTab', listKind: 'CronTabList' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema }, ...version }],
    },
  };
}

function definitionOf(object: ReturnType<typeof crd>): ResourceDefinition {
  const [definition] = definitionFromCrd(object as unknown as KubeObject, {} as Registry);
  if (definition === undefined) throw new Error('nothing served');
  return definition;
}

function cronTab(spec: object): KubeObject {
  const clean = JSON.parse(JSON.stringify(spec)) as object;
  return {
    apiVersion: 'stable.example.com/v1',
    kind: 'CronTab',
    metadata: { name: 'tab', namespace: 'default' },
    spec: clean,
  };
}

function problems(definition: ResourceDefinition, object: KubeObject, old?: KubeObject): string[] {
  const context = { version: 'v1' } as RequestContext;
  const errors =
    old === undefined ? definition.validate?.(object, context) : definition.validateUpdate?.(object, old, context);
  return messages((errors ?? []).filter(({ field }) => !field.startsWith('metadata')));
}

function messages(errors: ReturnType<typeof validateDefinition>): string[] {
  return errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`);
}

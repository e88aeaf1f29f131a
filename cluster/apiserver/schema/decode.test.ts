// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { decodeObject, typeByName } from './schema.ts';
import type { TypeSchema } from './schema.ts';

const POD = schemaOf('io.k8s.api.core.v1.Pod');
const DEPLOYMENT = schemaOf('io.k8s.api.apps.v1.Deployment');
const SECRET = schemaOf('io.k8s.api.core.v1.Secret');
const LEASE = schemaOf('io.k8s.api.coordination.v1.Lease');

describe('decodeObject', () => {
  it('prunes unknown fields and names them by path', () => {
    const pod = {
      metadata: { name: 'a', lables: {} },
      spec: { containers: [{ name: 'x', imagee: 'y' }], nodeSelector: { any: 'key' }, foo: 1 },
    };
    const decoded = decodeObject(POD, pod, 'Strict');
    expect(decoded.unknownFields).to.deep.equal(['metadata.lables', 'spec.containers[0].imagee', 'spec.foo']);
    expect(decoded.errors).to.deep.equal([]);
    expect(decoded.object).to.deep.equal({
      metadata: { name: 'a' },
      spec: { containers: [{ name: 'x' }], nodeSelector: { any: 'key' } },
    });
    expect(decodeObject(POD, { foo: 1 }, 'Ignore')).to.deep.include({ unknownFields: [], object: {} });
  });

  const errors: [string, TypeSchema, unknown, string][] = [
    [
      'a string for a number',
      DEPLOYMENT,
      { spec: { replicas: 'two' } },
      'json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32',
    ],
    [
      'a number for a string in a list',
      POD,
      { spec: { containers: [{ name: 'a', env: [{ name: 'X', value: 1 }] }] } },
      'json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string',
    ],
    [
      'an object for a list',
      POD,
      { spec: { containers: {} } },
      'json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container',
    ],
    [
      'a number in a map',
      POD,
      { metadata: { labels: { a: 1 } } },
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
    ],
    [
      'an overflow',
      DEPLOYMENT,
      { spec: { replicas: 3e9 } },
      'json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32',
    ],
    [
      'a fraction',
      DEPLOYMENT,
      { spec: { replicas: 1.5 } },
      'json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32',
    ],
    ['a list instead of the object', POD, [], 'json: cannot unmarshal array into Go value of type v1.Pod'],
    ['bad base64', SECRET, { data: { a: 'ab$=' } }, 'illegal base64 data at input byte 2'],
    [
      'a bad time',
      POD,
      { metadata: { creationTimestamp: 'yesterday' } },
      'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
    ],
    [
      'a bad quantity',
      POD,
      { spec: { containers: [{ name: 'a', resources: { limits: { cpu: 'many' } } }] } },
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
    [
      'a bool as int-or-string',
      DEPLOYMENT,
      { spec: { strategy: { rollingUpdate: { maxSurge: true } } } },
      'json: cannot unmarshal bool into Go value of type int32',
    ],
  ];
  for (const [name, type, value, message] of errors) {
    it(`refuses ${name} in upstream's words`, () => {
      expect(decodeObject(type, value, 'Warn').errors[0]).to.equal(message);
    });
  }

  it('writes times, quantities and absent values as upstream does', () => {
    const pod = {
      metadata: { name: '', labels: {}, creationTimestamp: null, deletionTimestamp: '2024-05-01T10:00:00.9+02:00' },
      spec: {
        nodeName: '',
        hostNetwork: false,
        containers: [{ name: 'a', args: [null], resources: { limits: { cpu: 0.5, memory: '1024Mi' } } }],
        volumes: null,
        terminationGracePeriodSeconds: 0,
      },
    };
    expect(decodeObject(POD, pod, 'Strict').object).to.deep.equal({
      metadata: { deletionTimestamp: '2024-05-01T08:00:00Z' },
      spec: {
        containers: [{ name: 'a', args: [''], resources: { limits: { cpu: '500m', memory: '1Gi' } } }],
        terminationGracePeriodSeconds: 0,
      },
    });
    const lease = { spec: { renewTime: '2024-05-01T10:00:00.123456789Z' } };
    expect(decodeObject(LEASE, lease, 'Strict').object).to.deep.equal({
      spec: { renewTime: '2024-05-01T10:00:00.123456Z' },
    });
  });

  it('survives any JSON, and decodes what it made without a change', () => {
    const key = fc.constantFrom(
      'metadata',
      'spec',
      'containers',
      'name',
      'labels',
      'resources',
      'limits',
      'cpu',
      'ports',
      'x',
      '__proto__',
    );
    const { json } = fc.letrec((tie) => ({
      json: fc.oneof(
        { maxDepth: 5 },
        fc.constant(null),
        fc.boolean(),
        fc.integer(),
        fc.string(),
        tie('list'),
        tie('object'),
      ),
      list: fc.array(tie('json'), { maxLength: 3 }),
      object: fc.dictionary(key, tie('json'), { maxKeys: 5 }),
    }));
    fc.assert(
      fc.property(json, (value) => {
        const first = decodeObject(POD, JSON.parse(JSON.stringify(value)), 'Strict');
        if (first.errors.length > 0 || first.object === undefined) return;
        const again = decodeObject(POD, structuredClone(first.object), 'Strict');
        expect(again.errors).to.deep.equal([]);
        expect(again.unknownFields).to.deep.equal([]);
        expect(again.object).to.deep.equal(first.object);
      }),
      { numRuns: 1000 },
    );
  });
});

function schemaOf(name: string): TypeSchema {
  const type = typeByName(name);
  if (type === undefined) throw new Error(name);
  return type;
}

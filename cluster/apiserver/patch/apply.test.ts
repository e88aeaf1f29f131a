// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import type { KubeObject } from '../resources/definition.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import type { TypeSchema } from '../schema/schema.ts';
import { conflictStatus, serverSideApply, trackManagedFields } from './apply.ts';

const DEPLOYMENT = schemaOf('io.k8s.api.apps.v1.Deployment');
const SERVICE = schemaOf('io.k8s.api.core.v1.Service');

describe('server-side apply', () => {
  it('creates with the claimed fields as upstream writes them', () => {
    const object = applied(DEPLOYMENT, undefined, deployment({ replicas: 3 }), 'alice');
    expect(object.metadata.managedFields).to.deep.equal([
      {
        manager: 'alice',
        operation: 'Apply',
        apiVersion: 'apps/v1',
        time: 't1',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': { 'f:labels': { 'f:app': {} } },
          'f:spec': {
            'f:replicas': {},
            'f:selector': {},
            'f:template': {
              'f:spec': {
                'f:containers': {
                  'k:{"name":"web"}': {
                    '.': {},
                    'f:image': {},
                    'f:name': {},
                    'f:ports': { 'k:{"containerPort":80,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {} } },
                  },
                },
              },
            },
          },
        },
      },
    ]);
  });

  it('changes nothing, times included, when the same is applied again', () => {
    const first = applied(DEPLOYMENT, undefined, deployment({ replicas: 3 }), 'alice');
    const again = applied(DEPLOYMENT, first, deployment({ replicas: 3 }), 'alice', { now: 't2' });
    expect(again).to.deep.equal(first);
  });

  it('removes fields that the manager no longer applies, and items that nobody else owns', () => {
    const first = applied(DEPLOYMENT, undefined, deployment({ replicas: 3 }), 'alice');
    const config = deployment({});
    delete config.metadata.labels;
    const second = applied(DEPLOYMENT, first, config, 'alice', { now: 't2' });
    expect(second['spec']).to.not.have.property('replicas');
    expect(second.metadata).to.not.have.property('labels');
    expect(second.metadata.name).to.equal('web');
    expect(second.metadata.managedFields?.[0]?.time).to.equal('t2');
  });

  it('keeps what another manager owns too', () => {
    const first = applied(DEPLOYMENT, undefined, deployment({ replicas: 3 }), 'alice');
    const both = applied(DEPLOYMENT, first, deployment({ replicas: 3 }), 'bob');
    const second = applied(DEPLOYMENT, both, deployment({}), 'alice');
    expect(second['spec']).to.have.property('replicas', 3);
  });

  it('refuses to change what another manager owns, unless forced', () => {
    const first = applied(DEPLOYMENT, undefined, deployment({ replicas: 3 }), 'alice');
    const scaled = trackManagedFields({
      schema: DEPLOYMENT,
      old: first,
      object: { ...first, spec: { ...(first['spec'] as object), replicas: 5 } },
      manager: 'kubectl-scale',
      operation: 'Update',
      subresource: 'scale',
      now: 't2',
    });
    const options = {
      schema: DEPLOYMENT,
      live: scaled,
      config: deployment({ replicas: 3 }),
      manager: 'alice',
      now: 't3',
    };
    const refused = serverSideApply({ ...options, force: false });
    if (!('conflicts' in refused)) throw new Error('no conflict');
    const conflict = 'conflict with "kubectl-scale" with subresource "scale" using apps/v1';
    expect(conflictStatus(refused.conflicts)).to.deep.equal({
      message: `Apply failed with 1 conflict: ${conflict}: .spec.replicas`,
      causes: [{ reason: 'FieldManagerConflict', message: conflict, field: '.spec.replicas' }],
    });
    const forced = serverSideApply({ ...options, force: true });
    if (!('object' in forced)) throw new Error('still a conflict');
    expect(forced.object['spec']).to.have.property('replicas', 3);
    expect(forced.object.metadata.managedFields?.map((entry) => entry.manager)).to.deep.equal(['alice']);
  });

  it('tells list items apart by keys with their defaults', () => {
    const port = (port: number, more: object) => ({ port, ...more });
    const service = (ports: object[]): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'dns' },
      spec: { ports },
    });
    const first = applied(SERVICE, undefined, service([port(53, { name: 'tcp' })]), 'alice');
    const second = applied(SERVICE, first, service([port(53, { name: 'udp', protocol: 'UDP' })]), 'bob');
    expect(second['spec']).to.deep.equal({
      ports: [port(53, { name: 'tcp' }), port(53, { name: 'udp', protocol: 'UDP' })],
    });
    const third = applied(SERVICE, second, service([port(53, { name: 'dns', protocol: 'TCP' })]), 'alice');
    expect(third['spec']).to.deep.equal({
      ports: [port(53, { name: 'dns', protocol: 'TCP' }), port(53, { name: 'udp', protocol: 'UDP' })],
    });
  });

  it('is idempotent and shows what was applied, whatever was applied before', () => {
    const config = fc.record(
      {
        replicas: fc.integer({ min: 0, max: 5 }),
        paused: fc.boolean(),
        containers: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 }),
        env: fc.uniqueArray(fc.constantFrom('X', 'Y', 'Z')),
      },
      { requiredKeys: ['containers', 'env'] },
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('alice', 'bob'), config), { minLength: 1, maxLength: 6 }),
        (steps) => {
          let live: KubeObject | undefined;
          for (const [manager, { containers, env, ...spec }] of steps) {
            const wanted: KubeObject = {
              apiVersion: 'apps/v1',
              kind: 'Deployment',
              metadata: { name: 'web' },
              spec: {
                ...spec,
                template: {
                  spec: {
                    containers: containers.map((name) => ({
                      name,
                      env: env.map((one) => ({ name: one, value: name })),
                    })),
                  },
                },
              },
            };
            live = applied(DEPLOYMENT, live, wanted, manager, { force: true });
            const again = applied(DEPLOYMENT, live, wanted, manager, { now: 't9' });
            expect(again).to.deep.equal(live);
            const names = itemNames(live);
            expect(containers.every((name) => names.includes(name))).to.equal(true);
          }
          const single = new Set(steps.map(([manager]) => manager)).size === 1;
          // With one manager only, the last configuration is all there is.
          if (single) expect(itemNames(live)).to.have.members(steps.at(-1)?.[1].containers ?? []);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('tracking of updates', () => {
  it('writes the fields of a manager in order, whatever order they came in', () => {
    const object = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a', labels: { z: '1', b: '2' } },
      data: { y: '', c: '' },
    };
    const schema = typeByName('io.k8s.api.core.v1.ConfigMap');
    const tracked = trackManagedFields({ schema, old: undefined, object, manager: 'm', operation: 'Update', now: '' });
    expect(JSON.stringify(tracked.metadata.managedFields?.[0]?.fieldsV1)).to.equal(
      '{"f:data":{".":{},"f:c":{},"f:y":{}},"f:metadata":{"f:labels":{".":{},"f:b":{},"f:z":{}}}}',
    );
  });

  it('gives a created object to its manager, with the marks that upstream sets', () => {
    const object = tracked(undefined, deployment({ replicas: 1 }), 'kubectl-create');
    expect(object.metadata.managedFields?.[0]).to.deep.include({ manager: 'kubectl-create', operation: 'Update' });
    expect(object.metadata.managedFields?.[0]?.fieldsV1).to.deep.equal({
      'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
      'f:spec': {
        'f:replicas': {},
        'f:selector': {},
        'f:template': {
          'f:spec': {
            'f:containers': {
              'k:{"name":"web"}': {
                '.': {},
                'f:image': {},
                'f:name': {},
                'f:ports': {
                  '.': {},
                  'k:{"containerPort":80,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {} },
                },
              },
            },
          },
        },
      },
    });
  });

  it('moves a changed field to who changed it and leaves times alone when nothing changed', () => {
    const first = tracked(undefined, deployment({ replicas: 1 }), 'alice', 't1');
    const same = tracked(first, structuredClone(first), 'bob', 't2');
    expect(same).to.deep.equal(first);
    const changed = structuredClone(first);
    (changed['spec'] as { replicas: number }).replicas = 4;
    const second = tracked(first, changed, 'bob', 't2');
    expect(second.metadata.managedFields?.map(({ manager, time }) => [manager, time])).to.deep.equal([
      ['alice', 't1'],
      ['bob', 't2'],
    ]);
    expect(second.metadata.managedFields?.[1]?.fieldsV1).to.deep.equal({ 'f:spec': { 'f:replicas': {} } });
  });

  it('forgets all owners when a client sends [{}], and keeps them when it sends none', () => {
    const first = tracked(undefined, deployment({}), 'alice');
    const silent = structuredClone(first);
    delete silent.metadata.managedFields;
    expect(tracked(first, silent, 'bob')).to.deep.equal(first);
    const reset = structuredClone(first);
    reset.metadata.managedFields = [{}];
    expect(tracked(first, reset, 'bob').metadata).to.not.have.property('managedFields');
  });
});

function schemaOf(name: string): TypeSchema {
  const type = typeByName(name);
  if (type === undefined) throw new Error(name);
  return type;
}

function applied(
  schema: TypeSchema,
  live: KubeObject | undefined,
  config: KubeObject,
  manager: string,
  { force = false, now = 't1' } = {},
): KubeObject {
  const decoded = decodeObject(schema, structuredClone(config), 'Strict');
  expect(decoded.errors).to.deep.equal([]);
  const result = serverSideApply({ schema, live, config: decoded.object, manager, force, now });
  if ('conflicts' in result) throw new Error(`conflicts: ${JSON.stringify(result.conflicts)}`);
  return result.object;
}

function tracked(old: KubeObject | undefined, object: KubeObject, manager: string, now = 't1'): KubeObject {
  return trackManagedFields({ schema: DEPLOYMENT, old, object, manager, operation: 'Update', now });
}

function deployment(spec: object): KubeObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'default', labels: { app: 'web' } },
    spec: {
      ...spec,
      selector: { matchLabels: { app: 'web' } },
      template: { spec: { containers: [{ name: 'web', image: 'web:1', ports: [{ containerPort: 80 }] }] } },
    },
  };
}

function itemNames(object: KubeObject | undefined): string[] {
  const spec = object?.['spec'] as { template: { spec: { containers: { name: string }[] } } };
  return spec.template.spec.containers.map(({ name }) => name);
}

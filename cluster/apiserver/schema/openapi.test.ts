// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { KubeObject, Registry, ResourceDefinition } from '../resources/definition.ts';
import { definitionFromCrd } from '../extensions/custom-resource.ts';
import { encodeOpenapiV2, openapiV2, openapiV3, openapiV3Index } from './openapi.ts';

const INFO = { version: 'v1.36.0' };
const pods: ResourceDefinition = {
  group: '',
  plural: 'pods',
  singular: 'pod',
  kind: 'Pod',
  namespaced: true,
  versions: [{ version: 'v1', schema: 'io.k8s.api.core.v1.Pod' }],
  status: {},
  views: { resize: {} },
};
const [widgets] = definitionFromCrd(
  {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Cluster',
      names: { plural: 'widgets', kind: 'Widget' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              description: 'A widget.',
              properties: {
                spec: { type: 'object', properties: { size: { type: 'integer', nullable: true, default: 3 } } },
              },
            },
          },
        },
      ],
    },
  } as KubeObject,
  {} as Registry,
);
if (widgets === undefined) throw new Error('no definition');
const definitions = [pods, widgets];

describe('OpenAPI', () => {
  it('says what kubectl looks for in version 3', async () => {
    const document = JSON.parse(JSON.stringify(await openapiV3(definitions, 'v1', INFO))) as OpenApi;
    const patch = document.paths['/api/v1/namespaces/{namespace}/pods/{name}']?.['patch'];
    expect(patch).to.deep.include({
      operationId: 'patchCoreV1NamespacedPod',
      'x-kubernetes-action': 'patch',
      'x-kubernetes-group-version-kind': { group: '', version: 'v1', kind: 'Pod' },
    });
    expect(patch?.parameters?.map(({ name }) => name)).to.include('fieldValidation');
    expect(document.paths).to.have.property('/api/v1/namespaces/{namespace}/pods/{name}/resize');
    const { schemas } = document.components;
    expect(schemas['io.k8s.api.core.v1.Pod']).to.deep.include({
      'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Pod' }],
    });
    expect(schemas['io.k8s.api.core.v1.Container']?.properties?.['ports']).to.deep.include({
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['containerPort', 'protocol'],
      'x-kubernetes-patch-merge-key': 'containerPort',
      'x-kubernetes-patch-strategy': 'merge',
    });
    expect(schemas['io.k8s.api.core.v1.Container']).to.have.deep.property('required', ['name']);
  });

  it('describes custom resources with the parts that all objects have', async () => {
    const document = JSON.parse(JSON.stringify(await openapiV3(definitions, 'example.com/v1', INFO))) as OpenApi;
    const widget = document.components.schemas['com.example.v1.Widget'];
    expect(widget?.description).to.equal('A widget.');
    expect(widget?.properties).to.have.all.keys('apiVersion', 'kind', 'metadata', 'spec');
    expect(await openapiV3(definitions, 'example.com/v2', INFO)).to.equal(undefined);
  });

  it('names nothing in version 2 where a custom resource takes anything', async () => {
    const open = {
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
      properties: { a: { type: 'string' } },
    };
    const [things] = definitionFromCrd(
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'things.example.com' },
        spec: {
          group: 'example.com',
          scope: 'Cluster',
          names: { plural: 'things', kind: 'Thing' },
          versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: open } }],
        },
      } as KubeObject,
      {} as Registry,
    );
    if (things === undefined) throw new Error('no definition');
    const { definitions: types } = (await openapiV2([things], INFO)) as { definitions: Record<string, object> };
    expect(types['com.example.v1.Thing']).to.deep.include({ type: 'object' });
    expect(types['com.example.v1.Thing']).to.not.have.any.keys('properties', 'x-kubernetes-preserve-unknown-fields');
  });

  it('leaves no reference open, in either version', async () => {
    for (const document of [await openapiV2(definitions, INFO), await openapiV3(definitions, 'v1', INFO)]) {
      const text = JSON.stringify(document);
      const known = JSON.parse(text) as { definitions?: object; components?: { schemas: object } };
      const names = new Set(Object.keys(known.definitions ?? known.components?.schemas ?? {}));
      const wanted = [...text.matchAll(/"\$ref":"#\/(?:definitions|components\/schemas)\/([^"]+)"/g)];
      expect(wanted.length).to.be.greaterThan(100);
      expect(wanted.map((match) => match[1]).filter((name) => !names.has(name ?? ''))).to.deep.equal([]);
    }
  });

  it('leaves out of version 2 what it cannot say, and encodes it as protobuf', async () => {
    const document = await openapiV2(definitions, INFO);
    const size = (document['definitions'] as OpenApi['components']['schemas'])['com.example.v1.Widget']?.properties?.[
      'spec'
    ];
    expect(JSON.stringify(size)).to.equal('{"type":"object","properties":{"size":{}}}');
    const encoded = encodeOpenapiV2(document);
    // Field 1, swagger: "2.0".
    expect(encoded.subarray(0, 5).toString('latin1')).to.equal('\x0a\x032.0');
    expect(encoded.includes('com.example.v1.Widget')).to.equal(true);
  });

  it('gives each group version an address that changes with its content', async () => {
    type Index = { paths: Record<string, { serverRelativeURL: string }> };
    const index = (await openapiV3Index(definitions, INFO)) as Index;
    expect(Object.keys(index.paths)).to.deep.equal(['api/v1', 'apis/example.com/v1']);
    expect(index.paths['api/v1']?.serverRelativeURL).to.match(/^\/openapi\/v3\/api\/v1\?hash=[0-9A-F]{64}$/);
    const other = (await openapiV3Index(definitions, { version: 'v1.37.0' })) as Index;
    expect(other.paths['api/v1']).to.not.deep.equal(index.paths['api/v1']);
  });
});

interface Schema {
  readonly description?: string;
  readonly properties?: Record<string, Schema>;
}

interface OpenApi {
  readonly paths: Record<string, Record<string, { parameters?: { name: string }[] }>>;
  readonly components: { readonly schemas: Record<string, Schema> };
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { AdmissionAttributes, KubeObject, Registry } from '../resources/definition.ts';
import { withMapLiterals } from './message-literals.ts';
import { applyMutatingPolicies } from './mutating-policies.ts';

describe('MutatingAdmissionPolicy', () => {
  const constraints = {
    resourceRules: [{ apiGroups: ['apps'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['deployments'] }],
  };
  const apply = (expression: string): object => ({
    patchType: 'ApplyConfiguration',
    applyConfiguration: { expression },
  });
  const patch = (expression: string): object => ({ patchType: 'JSONPatch', jsonPatch: { expression } });

  it('writes typed literals as maps, and nothing else', () => {
    expect(
      withMapLiterals(`Object{ spec: Object.spec{replicas: {"a": x ? 1 : 2}.a, b__dash__c: [1, f(2, d)]}}`),
    ).to.equal(`{ "spec": {"replicas": {"a": x ? 1 : 2}.a, "b-c": [1, f(2, d)]}}`);
    expect(withMapLiterals(`"Object{a: 1}" + 'x' + myObject`)).to.equal(`"Object{a: 1}" + 'x' + myObject`);
    expect(withMapLiterals(`[JSONPatch{op: "add", path: "/a", value: Object{?b: c}}]`)).to.equal(
      `[{"op": "add", "path": "/a", "value": {?"b": c}}]`,
    );
  });

  it('merges an apply configuration by the schema: maps by key, lists by theirs', async () => {
    const object = await mutate({
      matchConstraints: constraints,
      variables: [{ name: 'more', expression: 'object.spec.replicas * 2' }],
      mutations: [
        apply(`Object{metadata: Object.metadata{annotations: {"by": request.operation}},
          spec: Object.spec{replicas: variables.more, template: Object.spec.template{spec: Object.spec.template.spec{
            containers: [Object.spec.template.spec.containers.item{name: "side", image: "s"}]}}}}`),
      ],
    });
    expect(object.metadata.annotations).to.deep.equal({ kept: 'yes', by: 'CREATE' });
    expect(object['spec']).to.deep.equal({
      replicas: 6,
      template: {
        spec: {
          containers: [
            { name: 'web', image: 'w' },
            { name: 'side', image: 's' },
          ],
        },
      },
    });
  });

  it('applies JSON patches, each mutation on what the one before it left', async () => {
    const object = await mutate({
      matchConstraints: constraints,
      mutations: [
        patch(`[JSONPatch{op: "replace", path: "/spec/replicas", value: object.spec.replicas + 1}]`),
        patch(
          `[JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("a/b"), value: string(object.spec.replicas)}]`,
        ),
      ],
    });
    expect(object['spec']).to.include({ replicas: 4 });
    expect(object.metadata.annotations).to.deep.equal({ kept: 'yes', 'a/b': '4' });
  });

  it('is refused or ignored when it cannot be evaluated, and leaves alone what it does not match', async () => {
    const broken = {
      matchConstraints: constraints,
      mutations: [apply('Object{spec: Object.spec{replicas: object.none}}')],
    };
    expect(await refusal(broken)).to.match(/policy 'policy' with binding 'binding' denied request: no such key: none/);
    expect((await mutate({ ...broken, failurePolicy: 'Ignore' }))['spec']).to.include({ replicas: 3 });
    const renamed = {
      matchConstraints: constraints,
      mutations: [apply('Object{metadata: Object.metadata{name: "x"}}')],
    };
    expect(await refusal(renamed)).to.match(/metadata.name must not be changed/);
    const rules = { resourceRules: [{ ...constraints.resourceRules[0], operations: ['UPDATE'] }] };
    expect((await mutate({ ...broken, matchConstraints: rules }))['spec']).to.include({ replicas: 3 });
    const conditions = [{ name: 'many', expression: 'object.spec.replicas > 3' }];
    expect((await mutate({ ...broken, matchConditions: conditions }))['spec']).to.include({ replicas: 3 });
  });
});

function refusal(policy: object): Promise<string> {
  return mutate(policy).then(
    () => 'not refused',
    (error: unknown) => String(error),
  );
}

async function mutate(policy: object): Promise<KubeObject> {
  const objects: Record<string, KubeObject> = {
    'mutatingadmissionpolicies.admissionregistration.k8s.io': stored('policy', policy),
    'mutatingadmissionpolicybindings.admissionregistration.k8s.io': stored('binding', { policyName: 'policy' }),
    namespaces: stored('default', {}),
  };
  const registry = {
    list: (resource: string) => [objects[resource]],
    get: (resource: string) => objects[resource],
  } as unknown as Registry;
  const object: KubeObject = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', namespace: 'default', annotations: { kept: 'yes' } },
    spec: { replicas: 3, template: { spec: { containers: [{ name: 'web', image: 'w' }] } } },
  };
  await applyMutatingPolicies({
    operation: 'CREATE',
    definition: {
      group: 'apps',
      plural: 'deployments',
      kind: 'Deployment',
      namespaced: true,
      versions: [{ version: 'v1', schema: 'io.k8s.api.apps.v1.Deployment' }],
    },
    context: { version: 'v1', user: { name: 'me', groups: [] }, dryRun: false, warn: () => {}, registry },
    object,
  } as unknown as AdmissionAttributes);
  return object;
}

function stored(name: string, spec: object): KubeObject {
  return { apiVersion: 'v1', kind: 'X', metadata: { name }, spec };
}

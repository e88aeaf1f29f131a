// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { AdmissionAttributes, KubeObject, Registry } from '../resources/definition.ts';
import { StatusError } from '../status.ts';
import { evaluateAdmissionPolicies } from './admission-policies.ts';

describe('ValidatingAdmissionPolicy', () => {
  const rules = {
    resourceRules: [
      { apiGroups: ['apps'], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['deployments'] },
    ],
  };

  it('denies with the message of the rule and the reason it names', () => {
    const spec = {
      matchConstraints: rules,
      variables: [
        { name: 'replicas', expression: 'object.spec.replicas' },
        { name: 'unused', expression: 'object.nothing' },
      ],
      validations: [
        {
          expression: 'variables.replicas <= 5',
          messageExpression: '"%d are too many".format([variables.replicas])',
          reason: 'Forbidden',
        },
      ],
    };
    const error = refusal(spec, { validationActions: ['Deny'] }, 6);
    expect(error?.code).to.equal(403);
    expect(error?.message).to.equal(
      `deployments.apps "web" is forbidden: ValidatingAdmissionPolicy 'policy' with binding 'binding' denied request: 6 are too many`,
    );
    expect(refusal(spec, { validationActions: ['Deny'] }, 5)).to.equal(undefined);
    expect(refusal(spec, { validationActions: ['Warn'] }, 6)).to.equal(undefined);
  });

  it('fails or ignores as the policy says when an expression cannot be evaluated', () => {
    const spec = { matchConstraints: rules, validations: [{ expression: 'object.spec.missing == 1' }] };
    const deny = { validationActions: ['Deny'] };
    expect(refusal(spec, deny, 1)?.message).to.include('resulted in error: no such key: missing');
    expect(refusal({ ...spec, failurePolicy: 'Ignore' }, deny, 1)).to.equal(undefined);
    expect(refusal({ ...spec, validations: [{ expression: 'object.' }] }, deny, 1)?.message).to.include(
      'compilation error',
    );
  });

  it('leaves alone what it does not match', () => {
    const deny = { validationActions: ['Deny'] };
    const never = [{ expression: 'false' }];
    const others = {
      resourceRules: [{ apiGroups: ['batch'], apiVersions: ['*'], operations: ['*'], resources: ['*'] }],
    };
    expect(refusal({ matchConstraints: others, validations: never }, deny, 1)).to.equal(undefined);
    const condition = [{ name: 'big', expression: 'object.spec.replicas > 3' }];
    const spec = { matchConstraints: rules, matchConditions: condition, validations: never };
    expect(refusal(spec, deny, 1)).to.equal(undefined);
    expect(refusal(spec, deny, 4)).to.not.equal(undefined);
    const elsewhere = { ...deny, matchResources: { namespaceSelector: { matchLabels: { team: 'other' } } } };
    expect(refusal(spec, elsewhere, 4)).to.equal(undefined);
  });
});

function refusal(policy: object, binding: object, replicas: number): StatusError | undefined {
  const objects: Record<string, KubeObject> = {
    'validatingadmissionpolicies.admissionregistration.k8s.io': stored('policy', policy),
    'validatingadmissionpolicybindings.admissionregistration.k8s.io': stored('binding', {
      policyName: 'policy',
      ...binding,
    }),
    namespaces: stored('default', {}),
  };
  const registry = {
    list: (resource: string) => [objects[resource]],
    get: (resource: string) => objects[resource],
  } as unknown as Registry;
  const attributes = {
    operation: 'CREATE',
    definition: {
      group: 'apps',
      plural: 'deployments',
      kind: 'Deployment',
      namespaced: true,
      versions: [{ version: 'v1' }],
    },
    context: { version: 'v1', user: { name: 'me', groups: [] }, dryRun: false, warn: () => {}, registry },
    object: {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'default' },
      spec: { replicas },
    },
  } as unknown as AdmissionAttributes;
  try {
    evaluateAdmissionPolicies(attributes, registry);
    return undefined;
  } catch (error) {
    if (error instanceof StatusError) return error;
    throw error;
  }
}

function stored(name: string, spec: object): KubeObject {
  return { apiVersion: 'v1', kind: 'X', metadata: { name }, spec };
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { definitionNames, definitionOfKind, typeByName } from './schema.ts';

describe('schema data', () => {
  it('has no type that refers to a missing one', () => {
    let fields = 0;
    for (const { name } of definitionNames()) {
      for (const field of typeByName(name)?.fields.values() ?? []) {
        for (let type = field.type.element; type !== undefined && type.name === ''; type = type.element) fields++;
        fields++;
      }
    }
    expect(fields).to.be.greaterThan(2500);
  });

  it('knows fields, their merge keys, defaults and protobuf numbers', () => {
    const container = typeByName('io.k8s.api.core.v1.Container');
    const ports = container?.fields.get('ports');
    expect(ports?.protobuf).to.equal(6);
    expect(ports?.type).to.deep.include({ listType: 'map', listMapKeys: ['containerPort', 'protocol'] });
    expect(ports?.type.patch).to.deep.include({ mergeKey: 'containerPort', merge: true });
    expect(ports?.type.element?.fields.get('protocol')).to.deep.include({ default: 'TCP', omitEmpty: true });
    expect(typeByName('io.k8s.api.apps.v1.DeploymentSpec')?.fields.get('selector')?.type.atomic).to.equal(true);
  });

  it('finds kinds by group and version', () => {
    expect(definitionOfKind('apps', 'v1', 'Deployment')).to.equal('io.k8s.api.apps.v1.Deployment');
    expect(definitionOfKind('apiextensions.k8s.io', 'v1', 'CustomResourceDefinition')).to.match(
      /CustomResourceDefinition$/,
    );
    expect(definitionOfKind('apps', 'v1', 'DeploymentSpec')).to.equal(undefined);
    expect(typeByName('io.k8s.api.core.v1.Nothing')).to.equal(undefined);
  });
});

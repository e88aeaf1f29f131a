// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import type { KubeObject } from '../resources/definition.ts';
import { typeByName } from '../schema/schema.ts';
import { PatchError } from './patch-error.ts';
import type { PatchType } from './patch.ts';
import { applyPatch } from './patch.ts';

const schema = typeByName('io.k8s.api.core.v1.Pod');

describe('strategic merge patch', () => {
  it('merges lists by merge key and sets by value', () => {
    const original = pod({ containers: [{ name: 'a', image: '1', env: [{ name: 'X', value: '1' }] }, { name: 'b' }] });
    original.metadata.finalizers = ['one'];
    const patched = strategic(original, {
      metadata: { finalizers: ['two'] },
      spec: { containers: [{ name: 'c' }, { name: 'a', env: [{ name: 'Y', value: '2' }] }] },
    });
    // New items come to the front, as everybody who patches Kubernetes' own server sees them.
    expect(patched.metadata.finalizers).to.deep.equal(['two', 'one']);
    expect(containers(patched)).to.deep.equal([
      { name: 'c' },
      {
        name: 'a',
        image: '1',
        env: [
          { name: 'Y', value: '2' },
          { name: 'X', value: '1' },
        ],
      },
      { name: 'b' },
    ]);
  });

  it('obeys its directives', () => {
    const original = pod({
      containers: [{ name: 'a', ports: [{ containerPort: 80, name: 'http' }, { containerPort: 81 }] }, { name: 'b' }],
      volumes: [{ name: 'v', emptyDir: {} }],
      nodeSelector: { x: '1', y: '2' },
    });
    original.metadata.finalizers = ['one', 'two'];
    const patched = strategic(original, {
      metadata: { '$deleteFromPrimitiveList/finalizers': ['one'] },
      spec: {
        '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }],
        containers: [
          { name: 'b', $patch: 'delete' },
          {
            name: 'a',
            ports: [
              { containerPort: 80, name: null },
              { $patch: 'delete', containerPort: 81 },
            ],
          },
          { name: 'c' },
        ],
        volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/' } }],
        nodeSelector: { $patch: 'replace', z: '3' },
      },
    });
    expect(patched.metadata.finalizers).to.deep.equal(['two']);
    expect(patched['spec']).to.deep.equal({
      containers: [{ name: 'c' }, { name: 'a', ports: [{ containerPort: 80 }] }],
      volumes: [{ name: 'v', hostPath: { path: '/' } }],
      nodeSelector: { z: '3' },
    });
  });

  it('leaves no directive behind where there was nothing to merge with', () => {
    const patched = strategic(pod({}), {
      spec: {
        containers: [
          { name: 'a', $patch: 'delete' },
          { name: 'b', image: null },
        ],
        securityContext: { $patch: 'replace', runAsUser: 1 },
      },
    });
    expect(patched['spec']).to.deep.equal({ containers: [{ name: 'b' }], securityContext: { runAsUser: 1 } });
  });

  it('refuses elements without their key and unknown directives', () => {
    expect(() => strategic(pod({ containers: [{ name: 'a' }] }), { spec: { containers: [{ image: 'x' }] } })).to.throw(
      PatchError,
      'map: map[image:x] does not contain declared merge key: name',
    );
    expect(() => strategic(pod({}), { spec: { $patch: 'explode' } })).to.throw(
      PatchError,
      'unknown patch type: explode',
    );
  });

  it('reaches the target with the difference of two pods', () => {
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1 });
    const image = fc.constantFrom('1', '2', '3');
    const side = fc
      .tuple(names, fc.array(image, { minLength: 5, maxLength: 5 }))
      .map(([list, images]) => list.map((name, at) => ({ name, image: images[at] ?? '' })));
    fc.assert(
      fc.property(side, side, (before, after) => {
        const original = pod({ containers: before });
        const patch = {
          spec: {
            '$setElementOrder/containers': after.map(({ name }) => ({ name })),
            containers: [
              ...after.filter((item) => before.find(({ name }) => name === item.name)?.image !== item.image),
              ...before
                .filter(({ name }) => !after.some((item) => item.name === name))
                .map(({ name }) => ({ name, $patch: 'delete' })),
            ],
          },
        };
        const untouched = structuredClone(original);
        expect(containers(strategic(original, patch))).to.deep.equal(after);
        expect(original).to.deep.equal(untouched);
      }),
    );
  });
});

describe('merge patch and JSON patch', () => {
  it('merge patch follows RFC 7396', () => {
    const original = pod({ nodeSelector: { a: '1', b: '2' }, containers: [{ name: 'a' }] });
    const patched = patch('application/merge-patch+json', original, {
      spec: { nodeSelector: { a: null, c: { d: null } }, containers: [] },
    });
    expect(patched['spec']).to.deep.equal({ nodeSelector: { b: '2', c: {} }, containers: [] });
  });

  it('JSON patch follows RFC 6902', () => {
    const patched = patch('application/json-patch+json', pod({ containers: [{ name: 'a' }] }), [
      { op: 'test', path: '/spec/containers/0/name', value: 'a' },
      { op: 'add', path: '/spec/containers/-', value: { name: 'b' } },
      { op: 'remove', path: '/spec/containers/0' },
      { op: 'add', path: '/metadata/labels', value: { 'a/b': 'c' } },
      { op: 'replace', path: '/metadata/labels/a~1b', value: 'd' },
    ]);
    expect(patched['spec']).to.deep.equal({ containers: [{ name: 'b' }] });
    expect(patched.metadata.labels).to.deep.equal({ 'a/b': 'd' });
  });

  const refusals: [string, PatchType, unknown, number][] = [
    ['a test that fails', 'application/json-patch+json', [{ op: 'test', path: '/kind', value: 'x' }], 422],
    ['a path that is not there', 'application/json-patch+json', [{ op: 'remove', path: '/spec/x' }], 422],
    ['an unknown operation', 'application/json-patch+json', [{ op: 'explode', path: '/spec' }], 422],
    ['an object as JSON patch', 'application/json-patch+json', {}, 400],
    ['a list as merge patch', 'application/merge-patch+json', [], 400],
  ];
  for (const [name, type, body, code] of refusals) {
    it(`refuses ${name}`, () => {
      expect(() => patch(type, pod({}), body))
        .to.throw(PatchError)
        .with.property('code', code);
    });
  }

  it('never touches prototypes', () => {
    const body = JSON.parse('{"__proto__":{"polluted":1},"metadata":{"__proto__":{"polluted":1}}}') as unknown;
    for (const type of ['application/merge-patch+json', 'application/strategic-merge-patch+json'] as const) {
      expect(patch(type, pod({}), body).metadata).to.not.have.property('polluted');
    }
    expect({}).to.not.have.property('polluted');
  });
});

function pod(spec: object): KubeObject {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec };
}

function strategic(original: KubeObject, body: object): KubeObject {
  return patch('application/strategic-merge-patch+json', original, body);
}

function patch(type: PatchType, original: KubeObject, body: unknown): KubeObject {
  return applyPatch({ type, schema, original, patch: body });
}

function containers(object: KubeObject): unknown {
  return (object['spec'] as { containers: unknown }).containers;
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ObjectMeta } from '../../machinery/api-types.ts';
import { resources } from '../../machinery/resources.ts';
import { Graph, decide } from './graph.ts';
import type { OwnerVerdict } from './graph.ts';

const owner = (uid: string, blocks = false) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  name: uid,
  uid,
  blockOwnerDeletion: blocks,
});
const meta = (uid: string, owners: ReturnType<typeof owner>[] = [], extra: ObjectMeta = {}): ObjectMeta => ({
  name: uid,
  namespace: 'x',
  uid,
  ownerReferences: owners,
  ...extra,
});
const foreground = { deletionTimestamp: 'now', finalizers: ['foregroundDeletion'] };

describe('controllers/garbage-collector graph', () => {
  it('knows dependents even when they come before their owner', () => {
    const graph = new Graph();
    expect(graph.put(resources.pods, meta('child', [owner('parent', true)]))).to.include('child');
    graph.put(resources.pods, meta('parent'));
    expect(graph.dependentsOf('parent').map(({ uid }) => uid)).to.deep.equal(['child']);
    expect(graph.blockersOf('parent')).to.have.length(1);
    expect(graph.remove('parent')).to.deep.equal(['child']);
  });

  it('wakes the owner in foreground deletion when its last blocker goes or stops blocking', () => {
    const graph = new Graph();
    graph.put(resources.pods, meta('parent'));
    graph.put(resources.pods, meta('child', [owner('parent', true)]));
    expect(graph.put(resources.pods, meta('parent', [], foreground))).to.have.members(['parent', 'child']);
    expect(graph.put(resources.pods, meta('child', [owner('parent', false)]))).to.include('parent');
    expect(graph.blockersOf('parent')).to.deep.equal([]);
    expect(graph.remove('child')).to.deep.equal(['parent']);
  });

  it('forgets an owner that was dropped', () => {
    const graph = new Graph();
    graph.put(resources.pods, meta('parent'));
    graph.put(resources.pods, meta('child', [owner('parent')]));
    graph.put(resources.pods, meta('child', []));
    expect(graph.dependentsOf('parent')).to.deep.equal([]);
  });

  const cases: [
    name: string,
    verdicts: OwnerVerdict['verdict'][],
    finalizers: string[],
    dependents: number,
    expected: string,
  ][] = [
    ['keeps what nobody owns', [], [], 0, 'keep'],
    ['keeps what has an owner', ['solid'], [], 0, 'keep'],
    ['drops absent owners beside a solid one', ['solid', 'absent'], [], 0, 'drop-owners'],
    ['deletes what has lost its only owner', ['absent'], [], 0, 'delete Background'],
    ['respects an orphan finalizer', ['absent'], ['orphan'], 0, 'delete Orphan'],
    ['passes foreground deletion on to what has dependents', ['waiting'], [], 1, 'delete Foreground'],
    ['deletes a leaf of a foreground deletion at once', ['waiting'], [], 0, 'delete Background'],
  ];
  for (const [name, verdicts, finalizers, dependents, expected] of cases) {
    it(name, () => {
      const graph = new Graph();
      const owners = verdicts.map((_, index) => owner(`o${index}`));
      graph.put(resources.pods, meta('it', owners));
      for (let index = 0; index < dependents; index++) graph.put(resources.pods, meta(`d${index}`, [owner('it')]));
      const node = graph.get('it');
      if (!node) throw new Error('the node is missing');
      const list = verdicts.map((verdict, index) => ({ owner: owner(`o${index}`), verdict }));
      const decision = decide(node, meta('it', owners, { finalizers }), list);
      expect(decision.action === 'delete' ? `delete ${decision.propagationPolicy}` : decision.action).to.equal(
        expected,
      );
    });
  }
});

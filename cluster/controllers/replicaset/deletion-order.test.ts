// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod } from '../../machinery/api-types.ts';
import { podsToDelete } from './deletion-order.ts';

const now = Date.parse('2026-01-01T12:00:00Z');
const ago = (hours: number): string => new Date(now - hours * 3_600_000).toISOString();

function pod(
  name: string,
  options: { node?: string; phase?: string; readySince?: number; cost?: number; restarts?: number; age?: number } = {},
): Pod {
  const { node = 'n1', phase = 'Running', readySince = 8, cost, restarts = 0, age = 8 } = options;
  return {
    metadata: {
      name,
      uid: name,
      creationTimestamp: ago(age),
      ...(cost !== undefined && { annotations: { 'controller.kubernetes.io/pod-deletion-cost': String(cost) } }),
    },
    spec: { containers: [], ...(node && { nodeName: node }) },
    status: {
      phase: phase as 'Running',
      conditions: [{ type: 'Ready', status: readySince < 0 ? 'False' : 'True', lastTransitionTime: ago(readySince) }],
      containerStatuses: [{ name: 'c', image: '', imageID: '', ready: true, restartCount: restarts }],
    },
  };
}

describe('controllers/replicaset deletion order', () => {
  const pairs: [name: string, first: Pod, last: Pod][] = [
    ['unassigned before assigned', pod('a', { node: '' }), pod('b')],
    ['pending before running', pod('a', { phase: 'Pending' }), pod('b')],
    ['not ready before ready', pod('a', { readySince: -1 }), pod('b')],
    ['cheap before dear', pod('a', { cost: -5 }), pod('b')],
    ['recently ready before long ready', pod('a', { readySince: 1 }), pod('b')],
    ['often restarted before stable', pod('a', { restarts: 3 }), pod('b')],
    ['young before old', pod('a', { age: 1 }), pod('b')],
    ['not ready before cheap', pod('a', { readySince: -1, cost: 9 }), pod('b', { cost: -9 })],
  ];
  for (const [name, first, last] of pairs) {
    it(`takes ${name}`, () => {
      for (const pods of [
        [first, last],
        [last, first],
      ]) {
        expect(podsToDelete({ pods, related: [], count: 1, now })).to.deep.equal([first]);
      }
    });
  }

  it('takes from the node that has most pods of the same owner', () => {
    const pods = [pod('b', { node: 'n1' }), pod('a', { node: 'n2' })];
    const related = [...pods, pod('c', { node: 'n2' })];
    expect(podsToDelete({ pods, related, count: 1, now }).map(({ metadata }) => metadata.name)).to.deep.equal(['a']);
  });
});

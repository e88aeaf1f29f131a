// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { Node, Pod, Toleration } from '../../machinery/api-types.ts';
import { parsePrefix } from '../../network/addresses.ts';
import { BlockPool } from '../node-ipam/cidrs.ts';
import { unknownConditions } from './controller.ts';
import { evictionTime, planTaints } from './taints.ts';

const now = Date.parse('2026-01-01T00:00:00Z');

function node(conditions: Record<string, 'True' | 'False' | 'Unknown'>, spec: object = {}): Node {
  return {
    metadata: { name: 'n' },
    spec,
    status: { conditions: Object.entries(conditions).map(([type, status]) => ({ type, status })) },
  };
}

const brief = (taints: { key: string; effect: string }[] | undefined): string | undefined =>
  taints?.map(({ key, effect }) => `${key.replace('node.kubernetes.io/', '')}:${effect}`).join(' ');

describe('controllers/node-lifecycle taints', () => {
  it('follow the node’s conditions and leave others’ taints alone', () => {
    expect(brief(planTaints(node({ Ready: 'Unknown' }), now))).to.equal('unreachable:NoSchedule unreachable:NoExecute');
    expect(brief(planTaints(node({ Ready: 'False', DiskPressure: 'True' }), now))).to.equal(
      'not-ready:NoSchedule not-ready:NoExecute disk-pressure:NoSchedule',
    );
    const taints = [
      { key: 'mine', effect: 'NoSchedule' },
      { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' },
    ];
    expect(brief(planTaints(node({ Ready: 'True' }, { taints }), now))).to.equal('mine:NoSchedule');
    expect(brief(planTaints(node({ Ready: 'True' }, { unschedulable: true }), now))).to.equal(
      'unschedulable:NoSchedule',
    );
    expect(planTaints(node({ Ready: 'True' }), now)).to.equal(undefined);
  });

  it('evict at once, later or never, as the pod tolerates them', () => {
    const taints = [
      { key: 'a', effect: 'NoExecute' as const },
      { key: 'b', effect: 'NoSchedule' as const },
    ];
    const at = (tolerations: Toleration[]): number | undefined => {
      const pod: Pod = { metadata: { name: 'p' }, spec: { containers: [], tolerations } };
      return evictionTime(pod, taints, () => now);
    };
    expect(at([])).to.equal(now);
    expect(at([{ key: 'a', operator: 'Exists', tolerationSeconds: 30 }])).to.equal(now + 30_000);
    expect(at([{ key: 'a', operator: 'Exists' }])).to.equal(undefined);
    expect(at([{ operator: 'Exists', effect: 'NoSchedule' }])).to.equal(now);
    expect(at([{ key: 'a', operator: 'Equal', value: 'x' }])).to.equal(now);
  });

  it('calls a silent node’s conditions unknown, once', () => {
    const conditions = unknownConditions(node({ Ready: 'True' }), now);
    expect(conditions?.map(({ type, status, reason }) => `${type} ${status} ${reason}`)).to.include(
      'Ready Unknown NodeStatusUnknown',
    );
    expect(unknownConditions({ ...node({}), status: { conditions: conditions ?? [] } }, now)).to.equal(undefined);
  });
});

describe('controllers/node-ipam blocks', () => {
  it('are taken, kept apart and given back', () => {
    const pool = new BlockPool(parsePrefix('10.244.0.0/22'), 24);
    pool.occupy('10.244.1.0/24');
    expect([pool.take(), pool.take(), pool.take(), pool.take()]).to.deep.equal([
      '10.244.0.0/24',
      '10.244.2.0/24',
      '10.244.3.0/24',
      undefined,
    ]);
    pool.release('10.244.2.0/24');
    expect(pool.take()).to.equal('10.244.2.0/24');
    pool.occupy('192.168.0.0/16');
    expect(new BlockPool(parsePrefix('fd00:10:244::/56'), 64).take()).to.equal('fd00:10:244::/64');
  });

  it('refuse what is no range', () => {
    for (const text of ['', '10.0.0.0/33', '300.0.0.0/8', 'fd00::/129', '10.0.0/8'])
      expect(() => parsePrefix(text), text).to.throw('is not a CIDR');
    for (const text of ['10.0.0.0/25', '10.0.0.0'])
      expect(() => new BlockPool(parsePrefix(text), 24), text).to.throw('do not fit');
  });

  it('never overlap', () => {
    fc.assert(
      fc.property(fc.integer({ min: 16, max: 24 }), fc.integer({ min: 0, max: 4 }), (prefix, extra) => {
        const pool = new BlockPool(parsePrefix(`10.0.0.0/${prefix}`), prefix + extra);
        const taken = Array.from({ length: 2 ** extra }, () => pool.take());
        expect(new Set(taken).size).to.equal(2 ** extra);
        expect(pool.take()).to.equal(undefined);
      }),
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod, PodDisruptionBudget } from '../../machinery/api-types.ts';
import { budgetStatus } from './plan.ts';

const now = Date.parse('2026-01-01T00:00:00Z');

function pods(ready: number, notReady = 0): Pod[] {
  return Array.from({ length: ready + notReady }, (_, index) => ({
    metadata: { name: `p${index}` },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: index < ready ? 'True' : 'False' }] },
  }));
}

function status(
  spec: object,
  list: Pod[],
  options: { expected?: number; problem?: string; disrupted?: Record<string, string> } = {},
) {
  const { expected = list.length, problem, disrupted } = options;
  const budget: PodDisruptionBudget = {
    metadata: { name: 'b', generation: 3 },
    spec,
    ...(disrupted && { status: { disruptedPods: disrupted } }),
  };
  return budgetStatus({ budget, pods: list, scale: problem ? { problem } : { expected }, now });
}

describe('controllers/disruption plan', () => {
  const cases: [name: string, spec: object, pods: Pod[], expected: number, allowed: number, desired: number][] = [
    ['a minimum as a number', { minAvailable: 2 }, pods(3), 3, 1, 2],
    ['a minimum as a share, rounded up', { minAvailable: '50%' }, pods(5), 5, 2, 3],
    ['a maximum as a number', { maxUnavailable: 1 }, pods(3), 3, 1, 2],
    ['a maximum as a share of what the owner wants', { maxUnavailable: '30%' }, pods(4), 10, 0, 7],
    ['pods that are not ready', { maxUnavailable: 1 }, pods(2, 1), 3, 0, 2],
    ['no pods at all', { minAvailable: 0 }, [], 0, 0, 0],
  ];
  for (const [name, spec, list, expected, allowed, desired] of cases) {
    it(`counts with ${name}`, () => {
      expect(status(spec, list, { expected }).status).to.include({
        disruptionsAllowed: allowed,
        desiredHealthy: desired,
        observedGeneration: 3,
      });
    });
  }

  it('counts evictions that are under way, for two minutes', () => {
    const at = (ms: number): Record<string, string> => ({ p0: new Date(now - ms).toISOString() });
    const fresh = status({ maxUnavailable: 1 }, pods(3), { disrupted: at(10_000) });
    expect(fresh.status.disruptionsAllowed).to.equal(0);
    expect(fresh.recheckMs).to.equal(110_000);
    expect(status({ maxUnavailable: 1 }, pods(3), { disrupted: at(130_000) }).status).to.not.have.property(
      'disruptedPods',
    );
  });

  it('allows nothing when the owners cannot be told', () => {
    const { conditions, disruptionsAllowed } = status({ maxUnavailable: 1 }, pods(3), {
      problem: 'found no controllers for pod "p0"',
    }).status;
    expect([disruptionsAllowed, conditions?.[0]?.reason]).to.deep.equal([0, 'SyncFailed']);
  });
});

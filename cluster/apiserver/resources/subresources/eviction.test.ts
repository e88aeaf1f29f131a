// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { expect } from 'chai';
import type { KubeObject, Registry } from '../definition.ts';
import { memoryRegistry, testContext } from '../testing.ts';
import { evictionSubresource } from './eviction.ts';

const meta = { namespace: 'default' };
const pod: KubeObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { ...meta, name: 'web', uid: 'u', labels: { app: 'web' } },
  spec: { containers: [] },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
};

function budget(status: object, name = 'pdb'): KubeObject {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { ...meta, name, generation: 1 },
    spec: { selector: { matchLabels: { app: 'web' } } },
    status: { observedGeneration: 1, ...status },
  };
}

async function evict(registry: Registry, parent = pod): Promise<unknown> {
  const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'web' } };
  const context = testContext(registry);
  return evictionSubresource
    .handle({ context, method: 'POST', parent, body, raw: {} as IncomingMessage, rest: '' })
    .catch((error: unknown) => error);
}

describe('eviction', () => {
  it('takes a disruption from the budget, then deletes', async () => {
    const registry = memoryRegistry({
      pods: [pod],
      'poddisruptionbudgets.policy': [budget({ disruptionsAllowed: 1 })],
    });
    expect(await evict(registry)).to.deep.include({ status: 201 });
    expect(registry.get('pods', 'default', 'web')).to.equal(undefined);
    const { status } = registry.get('poddisruptionbudgets.policy', 'default', 'pdb') as unknown as {
      status: { disruptionsAllowed: number; disruptedPods: object };
    };
    expect(status.disruptionsAllowed).to.equal(0);
    expect(status.disruptedPods).to.have.key('web');
  });

  it('is refused with 429 and the budget while none is left', async () => {
    const none = budget({ disruptionsAllowed: 0, desiredHealthy: 2, currentHealthy: 2 });
    const registry = memoryRegistry({ pods: [pod], 'poddisruptionbudgets.policy': [none] });
    const error = (await evict(registry)) as {
      code: number;
      message: string;
      status: { details: { causes: object[] } };
    };
    expect(error.code).to.equal(429);
    expect(error.message).to.equal("Cannot evict pod as it would violate the pod's disruption budget.");
    expect(error.status.details.causes).to.deep.equal([
      { reason: 'DisruptionBudget', message: 'The disruption budget pdb needs 2 healthy pods and has 2 currently' },
    ]);
    expect(registry.get('pods', 'default', 'web')).to.not.equal(undefined);
  });

  it('does not ask for pods that do not run', async () => {
    const done = { ...pod, status: { phase: 'Succeeded' } };
    const registry = memoryRegistry({
      pods: [done],
      'poddisruptionbudgets.policy': [budget({ disruptionsAllowed: 0 })],
    });
    expect(await evict(registry, done)).to.deep.include({ status: 201 });
  });

  it('cannot serve two budgets', async () => {
    const both = [budget({ disruptionsAllowed: 1 }), budget({ disruptionsAllowed: 1 }, 'other')];
    const error = (await evict(memoryRegistry({ pods: [pod], 'poddisruptionbudgets.policy': both }))) as {
      code: number;
    };
    expect(error.code).to.equal(500);
  });
});

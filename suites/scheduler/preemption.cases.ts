// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { createIdlePod, scheduled, unschedulable, waitForPod } from '../pods.ts';

const area = 'scheduler';
/** A resource that only this case knows, so that nobody else's pods are ever in the way or evicted. */
const resource = (t: CaseContext): string => `plumbline.io/${t.runId.slice(0, 20).toLowerCase()}-room`;

export const preemption = defineCase(
  {
    id: 'scheduler.preemption',
    area,
    title: 'An urgent pod takes the place of less urgent ones, and no more than it needs',
    description:
      'On a full node a pod of higher priority MUST be placed by evicting a pod of lower priority; one with preemptionPolicy Never MUST wait.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['quick'],
    serial: true,
  },
  async (t) => {
    const namespace = await t.namespace();
    const node = t.cluster.workers[0] ?? '';
    await offer(t, node, 2);
    const classes = await t.apply(
      (
        [
          ['low', 10, 'PreemptLowerPriority'],
          ['polite', 1000, 'Never'],
          ['high', 1000, 'PreemptLowerPriority'],
        ] as const
      ).map(([name, value, preemptionPolicy]) => ({
        apiVersion: 'scheduling.k8s.io/v1',
        kind: 'PriorityClass',
        metadata: { name: `plumb-${name}-${t.runId.slice(-6).toLowerCase()}` },
        value,
        preemptionPolicy,
      })),
    );
    const [low, polite, high] = classes.map(({ metadata }) => metadata?.name ?? '');
    const create = (name: string, priorityClassName: string | undefined) =>
      createIdlePod(
        t,
        { namespace, name },
        {
          spec: { ...(priorityClassName !== undefined && { priorityClassName }) },
          container: { resources: { requests: { [resource(t)]: '1' }, limits: { [resource(t)]: '1' } } },
        },
      );
    await create('low-0', low);
    await create('low-1', low);
    for (const name of ['low-0', 'low-1']) expect(await scheduled(t, { namespace, name })).to.equal(node);
    await create('polite', polite);
    await unschedulable(t, { namespace, name: 'polite' });
    await t.kube.core.deleteNamespacedPod({ name: 'polite', namespace });
    await create('urgent', high);
    expect(await scheduled(t, { namespace, name: 'urgent' })).to.equal(node);
    const left = await t.kube.core.listNamespacedPod({ namespace });
    const alive = left.items
      .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
      .map(({ metadata }) => metadata?.name);
    expect(
      alive.filter((name) => name?.startsWith('low-')),
      'pods of low priority that stay',
    ).to.have.length(1);
  },
);

export const retry = defineCase(
  {
    id: 'scheduler.retry-when-room-appears',
    area,
    title: 'A pod that did not fit is placed as soon as there is room',
    description:
      'When a running pod goes, a pod that waits for its room MUST be placed within seconds, not at the next periodic retry.',
    requirements: ['000 §7'],
    modes: ['full'],
    serial: true,
  },
  async (t) => {
    const namespace = await t.namespace();
    const node = t.cluster.workers[0] ?? '';
    await offer(t, node, 1);
    const container = { resources: { requests: { [resource(t)]: '1' }, limits: { [resource(t)]: '1' } } };
    await createIdlePod(t, { namespace, name: 'first' }, { container });
    await scheduled(t, { namespace, name: 'first' });
    await createIdlePod(t, { namespace, name: 'second' }, { container });
    await unschedulable(t, { namespace, name: 'second' });
    await t.kube.core.deleteNamespacedPod({ name: 'first', namespace });
    const began = performance.now();
    await waitForPod(
      t,
      { namespace, name: 'second' },
      {
        what: 'to be placed',
        timeoutMs: 15_000,
        condition: (pod) => (pod?.spec?.nodeName === node ? done(undefined) : pending('no node yet')),
      },
    );
    t.measure({ name: 'time-to-place', value: Math.round(performance.now() - began), unit: 'ms' });
  },
);

/** Gives the node so many of the case's own resource, and takes it away at the end. */
async function offer(t: CaseContext, node: string, amount: number): Promise<void> {
  const path = `/status/capacity/${resource(t).replace('/', '~1')}`;
  const patch = async (operation: object): Promise<void> => {
    const { status } = await t.kube.request({
      method: 'PATCH',
      path: `/api/v1/nodes/${node}/status`,
      headers: { 'Content-Type': 'application/json-patch+json' },
      body: [operation, { ...operation, path: path.replace('capacity', 'allocatable') }],
    });
    expect(status, 'answer to the change of the node’s capacity').to.equal(200);
  };
  t.onTeardown(() => patch({ op: 'remove', path }));
  await patch({ op: 'add', path, value: String(amount) });
}

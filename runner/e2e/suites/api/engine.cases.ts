// SPDX-License-Identifier: Apache-2.0
/** Cases that end in known ways: what runner/e2e/run.e2e.ts runs against a real cluster. */
import { expect } from 'chai';
import { defineCase, done, pending, type CaseMetadata } from '../../../../suites/case.ts';

const common: Pick<CaseMetadata, 'area' | 'description' | 'requirements'> = {
  area: 'api',
  description: 'Shows how a run deals with one kind of end.',
  requirements: [],
};

export const passes = defineCase(
  { ...common, id: 'api.engine.passes', title: 'A ConfigMap is created and labelled', modes: ['quick'] },
  async (t) => {
    const namespace = await t.namespace();
    await t.apply(`{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {key: value}}`);
    const read = await t.kube.core.readNamespacedConfigMap({ name: 'a', namespace });
    expect(read.data).to.deep.equal({ key: 'value' });
    expect(read.metadata?.labels).to.include({ 'plumbline.io/run-id': t.runId });
  },
);

export const clusterScoped = defineCase(
  {
    ...common,
    id: 'api.engine.cluster-scoped',
    title: 'A PriorityClass goes at the end of its case',
    modes: ['quick'],
    serial: true,
  },
  async (t) => {
    const name = `plumb-${t.runId}`;
    await t.apply({ apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value: 1 });
    expect((await t.kube.scheduling.readPriorityClass({ name })).value).to.equal(1);
  },
);

export const fails = defineCase(
  { ...common, id: 'api.engine.fails', title: 'A wrong expectation fails', modes: ['network'] },
  async (t) => {
    const namespace = await t.namespace();
    t.onFailure(async () => t.attach({ name: 'explanation.txt', content: 'It was never there.', role: 'explanation' }));
    const { items } = await t.kube.core.listNamespacedPod({ namespace });
    expect(items).to.have.length(1);
  },
);

export const waits = defineCase(
  { ...common, id: 'api.engine.waits', title: 'A case that waits until it is told to end', modes: ['full'] },
  async (t) => {
    await t.namespace();
    t.log('waiting now');
    await t.waitFor('the end of the run', async () => pending('it goes on'), { timeoutMs: 100_000 });
  },
);

export const lists = defineCase(
  { ...common, id: 'api.engine.lists', title: 'A case that lists namespaces for some seconds', modes: ['full'] },
  async (t) => {
    t.log('listing now');
    const end = Date.now() + 6000;
    await t.waitFor<undefined>('the time to be over', async () => {
      const { items } = await t.kube.core.listNamespace();
      return Date.now() < end ? pending(`${items.length} namespaces`) : done(undefined);
    });
    await t.kube.core.listNode();
  },
);

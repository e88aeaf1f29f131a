// SPDX-License-Identifier: Apache-2.0
/** What the built-in controllers promise about sets of pods. */
import { expect } from 'chai';
import type { V1Deployment, V1Pod } from '@kubernetes/client-node';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { createIdlePod, idleTemplate, isReady, ready, waitForPod } from '../pods.ts';

const area = 'workloads';

export const rollOut = defineCase(
  {
    id: 'workloads.deployment.roll-out-and-back',
    area,
    title: 'A Deployment rolls out a change without going below its bound, and rolls back',
    description:
      'While the template changes, at least replicas minus maxUnavailable pods MUST stay Ready; setting the old template again MUST reuse its ReplicaSet.',
    requirements: ['000 §2', '001 §2', '003 Workloads'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const labels = { app: 'web' };
    const where = { name: 'web', namespace };
    await t.kube.apps.createNamespacedDeployment({
      namespace,
      body: {
        metadata: { name: 'web' },
        spec: {
          replicas: 3,
          selector: { matchLabels: labels },
          strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
          template: idleTemplate(t, { labels }),
        },
      },
    });
    await rolledOut(t, where);
    const setVersion = (value: string) =>
      t.kube.apps.patchNamespacedDeployment({
        ...where,
        body: [{ op: 'add', path: '/spec/template/metadata/annotations', value: { version: value } }],
      });
    const first = await activeReplicaSet(t, namespace);
    let least = 3;
    const watchReady = setInterval(() => {
      void t.kube.core.listNamespacedPod({ namespace, labelSelector: 'app=web' }).then(
        ({ items }) => (least = Math.min(least, items.filter(isReady).length)),
        () => undefined,
      );
    }, 200);
    t.onTeardown(async () => clearInterval(watchReady));
    await setVersion('2');
    await rolledOut(t, where);
    clearInterval(watchReady);
    expect(least, 'fewest Ready pods during the roll-out').to.equal(3);
    const second = await activeReplicaSet(t, namespace);
    expect(second).not.to.equal(first);
    await t.kube.apps.patchNamespacedDeployment({
      ...where,
      body: [{ op: 'remove', path: '/spec/template/metadata/annotations' }],
    });
    await rolledOut(t, where);
    expect(await activeReplicaSet(t, namespace), 'ReplicaSet after the roll-back').to.equal(first);
  },
);

export const selfHealing = defineCase(
  {
    id: 'workloads.replica-set.self-healing',
    area,
    title: 'A ReplicaSet replaces a deleted pod, releases one that stops matching, and scales',
    description:
      'The number of matching pods MUST return to spec.replicas after a deletion, a relabelling and a scale to zero.',
    requirements: ['000 §2', '001 §2'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const labels = { app: 'set' };
    await t.kube.apps.createNamespacedReplicaSet({
      namespace,
      body: {
        metadata: { name: 'set' },
        spec: { replicas: 2, selector: { matchLabels: labels }, template: idleTemplate(t, { labels }) },
      },
    });
    const living = async (): Promise<V1Pod[]> =>
      (await t.kube.core.listNamespacedPod({ namespace, labelSelector: 'app=set' })).items.filter(
        ({ metadata }) => metadata?.deletionTimestamp === undefined,
      );
    const settled = (wanted: number, without: readonly string[] = []) =>
      t.waitFor(`${wanted} Ready pods`, async () => {
        const pods = await living();
        const good = pods.filter((pod) => isReady(pod) && !without.includes(pod.metadata?.name ?? ''));
        return good.length === wanted && pods.length === wanted
          ? done(pods)
          : pending(`${good.length} of ${pods.length}`);
      });
    const [lost, released] = (await settled(2)).map(({ metadata }) => metadata?.name ?? '');
    await t.kube.core.deleteNamespacedPod({ name: lost ?? '', namespace });
    await settled(2, [lost ?? '']);
    await t.kube.core.patchNamespacedPod({
      name: released ?? '',
      namespace,
      body: [{ op: 'replace', path: '/metadata/labels/app', value: 'free' }],
    });
    await settled(2, [lost ?? '', released ?? '']);
    await t.waitFor('the released pod to have no owner', async () => {
      const free = await t.kube.core.readNamespacedPod({ name: released ?? '', namespace });
      return (free.metadata?.ownerReferences ?? []).length === 0 ? done(undefined) : pending('it still has its owner');
    });
    await t.kube.apps.patchNamespacedReplicaSetScale({
      name: 'set',
      namespace,
      body: [{ op: 'replace', path: '/spec/replicas', value: 0 }],
    });
    await settled(0);
  },
);

export const statefulOrder = defineCase(
  {
    id: 'workloads.stateful-set.order',
    area,
    title: 'A StatefulSet starts its pods in order and removes them in reverse',
    description:
      'Pod N MUST NOT be created before pod N-1 is Ready; scaling down MUST remove the highest ordinal first.',
    requirements: ['000 §2', '003 Workloads'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const labels = { app: 'ordered' };
    await t.kube.apps.createNamespacedStatefulSet({
      namespace,
      body: {
        metadata: { name: 'ordered' },
        spec: {
          replicas: 3,
          serviceName: 'ordered',
          selector: { matchLabels: labels },
          // Times in the API are whole seconds: a pod that were Ready at once could hide that the next one did not wait.
          template: idleTemplate(t, {
            labels,
            container: { readinessProbe: { exec: { command: ['/bin/busybox', 'true'] }, initialDelaySeconds: 2 } },
          }),
        },
      },
    });
    const created: Date[] = [];
    const readyAt: Date[] = [];
    for (const name of ['ordered-0', 'ordered-1', 'ordered-2']) {
      const pod = await ready(t, { namespace, name });
      created.push(new Date(pod.metadata?.creationTimestamp ?? 0));
      const condition = pod.status?.conditions?.find(({ type }) => type === 'Ready');
      readyAt.push(new Date(condition?.lastTransitionTime ?? 0));
    }
    for (const ordinal of [1, 2]) {
      const before = readyAt[ordinal - 1]?.getTime() ?? 0;
      expect(
        created[ordinal]?.getTime(),
        `creation of pod ${ordinal} after pod ${ordinal - 1} was Ready`,
      ).to.be.at.least(before);
    }
    await t.kube.apps.patchNamespacedStatefulSetScale({
      name: 'ordered',
      namespace,
      body: [{ op: 'replace', path: '/spec/replicas', value: 1 }],
    });
    for (const name of ['ordered-2', 'ordered-1']) {
      await waitForPod(
        t,
        { namespace, name },
        {
          what: 'to be gone',
          condition: (pod) => (pod === undefined ? done(undefined) : pending('still there')),
        },
      );
    }
    expect(
      isReady(await t.kube.core.readNamespacedPod({ name: 'ordered-0', namespace })),
      'pod 0 stays Ready',
    ).to.equal(true);
  },
);

export const daemonSet = defineCase(
  {
    id: 'workloads.daemon-set.every-node',
    area,
    title: 'A DaemonSet runs one pod on every worker, and on tainted nodes if it tolerates the taints',
    description:
      'Each worker MUST have exactly one pod of the set; with a toleration for everything every Ready node MUST.',
    requirements: ['000 §2', '003 Workloads'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const start = async (name: string, spec: object) => {
      const labels = { app: name };
      await t.kube.apps.createNamespacedDaemonSet({
        namespace,
        body: {
          metadata: { name },
          spec: { selector: { matchLabels: labels }, template: idleTemplate(t, { labels, spec }) },
        },
      });
    };
    await start('plain', {});
    await start('everywhere', { tolerations: [{ operator: 'Exists' }] });
    const nodesOf = async (name: string, wanted: readonly string[]) =>
      t.waitFor(`a Ready pod of ${name} on each of ${wanted.length} nodes`, async () => {
        const { items } = await t.kube.core.listNamespacedPod({ namespace, labelSelector: `app=${name}` });
        const nodes = items
          .filter(isReady)
          .map(({ spec }) => spec?.nodeName ?? '')
          .toSorted();
        return nodes.join() === wanted.toSorted().join()
          ? done(undefined)
          : pending(`Ready on ${nodes.join(', ') || 'none'}`);
      });
    await nodesOf('plain', t.cluster.workers);
    await nodesOf(
      'everywhere',
      t.cluster.nodes.map(({ metadata }) => metadata?.name ?? ''),
    );
  },
);

export const jobBackOff = defineCase(
  {
    id: 'workloads.job.completion-and-back-off',
    area,
    title: 'A Job runs to its completions, and one that keeps failing gives up',
    description:
      'A Job with 3 completions MUST end Complete after 3 successes; one whose pods fail MUST end Failed with BackoffLimitExceeded.',
    requirements: ['000 §2', '003 Workloads'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const create = (name: string, command: string, spec: object) =>
      t.kube.batch.createNamespacedJob({
        namespace,
        body: {
          metadata: { name },
          spec: {
            ...spec,
            template: idleTemplate(t, {
              spec: { restartPolicy: 'Never' },
              container: { command: ['/bin/busybox', command] },
            }),
          },
        },
      });
    await create('good', 'true', { completions: 3, parallelism: 2 });
    await create('bad', 'false', { backoffLimit: 1 });
    const ended = (name: string) =>
      t.waitFor(
        `Job ${name} to end`,
        async () => {
          const { status } = await t.kube.batch.readNamespacedJob({ name, namespace });
          const end = status?.conditions?.find(
            ({ type, status: is }) => (type === 'Complete' || type === 'Failed') && is === 'True',
          );
          return end === undefined ? pending(JSON.stringify(status)) : done({ ...end, succeeded: status?.succeeded });
        },
        { timeoutMs: 90_000 },
      );
    expect(await ended('good')).to.include({ type: 'Complete', succeeded: 3 });
    expect(await ended('bad')).to.include({ type: 'Failed', reason: 'BackoffLimitExceeded' });
  },
);

export const disruptionBudget = defineCase(
  {
    id: 'workloads.disruption-budget.eviction',
    area,
    title: 'An eviction that breaks a disruption budget is refused with 429',
    description:
      'With minAvailable 1 and one healthy pod, an eviction MUST be refused; with two, the first MUST be granted.',
    requirements: ['003 Workloads'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const labels = { app: 'guarded' };
    await t.kube.policy.createNamespacedPodDisruptionBudget({
      namespace,
      body: { metadata: { name: 'guard' }, spec: { minAvailable: 1, selector: { matchLabels: labels } } },
    });
    await createIdlePod(t, { namespace, name: 'one' }, { labels });
    await ready(t, { namespace, name: 'one' });
    const evict = (name: string) =>
      t.kube.request({
        method: 'POST',
        path: `/api/v1/namespaces/${namespace}/pods/${name}/eviction`,
        body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } },
      });
    const allowed = (wanted: number) =>
      t.waitFor(`${wanted} allowed disruptions`, async () => {
        const { status } = await t.kube.policy.readNamespacedPodDisruptionBudget({ name: 'guard', namespace });
        const seen = status?.disruptionsAllowed;
        return seen === wanted && status?.currentHealthy === wanted + 1 ? done(undefined) : pending(`${seen}`);
      });
    await allowed(0);
    const refused = await evict('one');
    expect(refused.status).to.equal(429);
    expect(refused.json()).to.include({ reason: 'TooManyRequests' });
    await createIdlePod(t, { namespace, name: 'two' }, { labels });
    await ready(t, { namespace, name: 'two' });
    await allowed(1);
    expect((await evict('one')).status).to.equal(201);
    expect((await evict('two')).status, 'a second eviction right after').to.equal(429);
  },
);

async function rolledOut(t: CaseContext, where: { readonly name: string; readonly namespace: string }): Promise<void> {
  await t.kube.waitForObject<V1Deployment, undefined>(
    { apiVersion: 'apps/v1', kind: 'Deployment', ...where },
    (deployment) => {
      const { status, spec, metadata } = deployment ?? {};
      const current = status?.observedGeneration === metadata?.generation;
      const complete = status?.updatedReplicas === spec?.replicas && status?.availableReplicas === spec?.replicas;
      const noneOld = status?.replicas === spec?.replicas;
      return current && complete && noneOld ? done(undefined) : pending(JSON.stringify(status));
    },
    { description: `Deployment ${where.name} to be rolled out`, timeoutMs: 90_000, signal: t.signal },
  );
}

async function activeReplicaSet(t: CaseContext, namespace: string): Promise<string> {
  const { items } = await t.kube.apps.listNamespacedReplicaSet({ namespace });
  const active = items.filter(({ spec }) => (spec?.replicas ?? 0) > 0);
  expect(active, 'ReplicaSets with replicas').to.have.length(1);
  return active[0]?.metadata?.name ?? '';
}

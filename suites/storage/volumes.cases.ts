// SPDX-License-Identifier: Apache-2.0
/** Dynamic provisioning through the default StorageClass, from the claim to nothing left behind. */
import { expect } from 'chai';
import type { V1PersistentVolumeClaimSpec, V1StorageClass } from '@kubernetes/client-node';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { createIdlePod, describePod, isReady, ready, scheduled, unschedulable, waitForPod } from '../pods.ts';

const area = 'storage';
const needs = ['default-storage-class'] as const;
const mountPath = '/data';

export const provision = defineCase(
  {
    id: 'storage.provision-write-read',
    area,
    title: 'A claim is provisioned, bound, mounted, and keeps what is written',
    description:
      'A pod with a new claim of the default class MUST start; what it writes MUST be there for its successor on the same claim.',
    requirements: ['000 §11', '001 §11', '003 Storage'],
    modes: ['quick'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    await claim(t, namespace, 'data');
    await mount(t, namespace, 'writer', 'data');
    await sh(t, namespace, 'writer', `echo kept > ${mountPath}/file && sync`);
    const bound = await t.kube.core.readNamespacedPersistentVolumeClaim({ name: 'data', namespace });
    expect(bound.status?.phase).to.equal('Bound');
    await remove(t, namespace, 'writer');
    await mount(t, namespace, 'reader', 'data');
    expect(await sh(t, namespace, 'reader', `cat ${mountPath}/file`)).to.equal('kept\n');
  },
);

export const restart = defineCase(
  {
    id: 'storage.survives-container-restart',
    area,
    title: 'A volume survives the restart of its container',
    description: 'After the container was killed and started again, the volume MUST be mounted with its contents.',
    requirements: ['001 §11'],
    modes: ['full'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    await claim(t, namespace, 'data');
    await mount(t, namespace, 'pod', 'data', {
      command: ['/bin/sh', '-c', 'trap exit TERM; while true; do sleep 1; done'],
    });
    await sh(t, namespace, 'pod', `echo kept > ${mountPath}/file; kill -TERM 1`);
    await waitForPod(
      t,
      { namespace, name: 'pod' },
      {
        what: 'to be Ready again after a restart',
        condition: (pod) => {
          const restarts = pod?.status?.containerStatuses?.[0]?.restartCount ?? 0;
          return restarts > 0 && isReady(pod) ? done(undefined) : pending(`${describePod(pod)}, ${restarts} restarts`);
        },
      },
    );
    expect(await sh(t, namespace, 'pod', `cat ${mountPath}/file`)).to.equal('kept\n');
  },
);

export const rescheduling = defineCase(
  {
    id: 'storage.survives-rescheduling',
    area,
    title: 'A successor finds its volume, wherever it would rather run',
    description:
      'A pod that prefers another node MUST still be placed where its claim’s volume can be used, and read what its predecessor wrote.',
    requirements: ['000 §11', '001 §11'],
    modes: ['full'],
    needs: ['default-storage-class', 'two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const [elsewhere = '', home = ''] = t.cluster.workers;
    await claim(t, namespace, 'data');
    await createIdlePod(
      t,
      { namespace, name: 'first' },
      { spec: { ...volumeSpec('data'), ...pinnedTo(home) }, container: mounted },
    );
    await ready(t, { namespace, name: 'first' });
    await sh(t, namespace, 'first', `echo kept > ${mountPath}/file && sync`);
    await remove(t, namespace, 'first');
    const preference = { matchFields: [{ key: 'metadata.name', operator: 'In', values: [elsewhere] }] };
    const affinity = {
      nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, preference }] },
    };
    await createIdlePod(
      t,
      { namespace, name: 'second' },
      { spec: { ...volumeSpec('data'), affinity }, container: mounted },
    );
    await ready(t, { namespace, name: 'second' });
    expect(await sh(t, namespace, 'second', `cat ${mountPath}/file`)).to.equal('kept\n');
  },
);

export const waitForFirstConsumer = defineCase(
  {
    id: 'storage.binding.wait-for-first-consumer',
    area,
    title: 'WaitForFirstConsumer binds only when a pod comes, on the pod’s node',
    description: 'The claim MUST stay Pending without a pod; with a pod pinned to a node it MUST be bound there.',
    requirements: ['000 §7', '003 Storage'],
    modes: ['quick'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    const storageClassName = await classLikeDefault(t, 'wait', { volumeBindingMode: 'WaitForFirstConsumer' });
    await claim(t, namespace, 'data', { storageClassName });
    await t.waitFor('the claim to say that it waits for its first consumer', async () => {
      const events = await t.kube.core.listNamespacedEvent({ namespace, fieldSelector: 'involvedObject.name=data' });
      return events.items.some(({ reason }) => reason === 'WaitForFirstConsumer')
        ? done(undefined)
        : pending('no such event yet');
    });
    const waiting = await t.kube.core.readNamespacedPersistentVolumeClaim({ name: 'data', namespace });
    expect(waiting.status?.phase).to.equal('Pending');
    const node = t.cluster.workers.at(-1) ?? '';
    await createIdlePod(
      t,
      { namespace, name: 'consumer' },
      { spec: { ...volumeSpec('data'), ...pinnedTo(node) }, container: mounted },
    );
    expect(await scheduled(t, { namespace, name: 'consumer' })).to.equal(node);
    await ready(t, { namespace, name: 'consumer' });
  },
);

export const immediate = defineCase(
  {
    id: 'storage.binding.immediate',
    area,
    title: 'Immediate binds without a pod, and the pod follows the volume',
    description:
      'The claim MUST be bound before any pod exists, and a pod MUST be placed where the volume can be used.',
    requirements: ['003 Storage'],
    modes: ['full'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    const storageClassName = await classLikeDefault(t, 'immediate', { volumeBindingMode: 'Immediate' });
    await claim(t, namespace, 'data', { storageClassName });
    await boundVolume(t, namespace, 'data');
    await mount(t, namespace, 'pod', 'data');
  },
);

export const expand = defineCase(
  {
    id: 'storage.expand',
    area,
    title: 'A claim can be grown while it is in use',
    description:
      'Raising the request of a bound claim MUST raise the capacity in its status, with the pod still running.',
    requirements: ['003 Storage'],
    modes: ['full'],
    needs: ['default-storage-class', 'volume-expansion'],
  },
  async (t) => {
    const namespace = await t.namespace();
    await claim(t, namespace, 'data');
    await mount(t, namespace, 'pod', 'data');
    await t.kube.core.patchNamespacedPersistentVolumeClaim({
      name: 'data',
      namespace,
      body: [{ op: 'replace', path: '/spec/resources/requests/storage', value: '64Mi' }],
    });
    await t.waitFor('the claim to have 64Mi', async () => {
      const { status } = await t.kube.core.readNamespacedPersistentVolumeClaim({ name: 'data', namespace });
      return status?.capacity?.['storage'] === '64Mi' ? done(undefined) : pending(JSON.stringify(status?.capacity));
    });
    expect(isReady(await t.kube.core.readNamespacedPod({ name: 'pod', namespace }))).to.equal(true);
  },
);

export const reclaimDelete = defineCase(
  {
    id: 'storage.reclaim.delete',
    area,
    title: 'With reclaim policy Delete the volume goes with its claim',
    description: 'After the claim is deleted the PersistentVolume MUST be gone.',
    requirements: ['001 §11', '003 Storage'],
    modes: ['quick'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    const storageClassName = await classLikeDefault(t, 'delete', {
      reclaimPolicy: 'Delete',
      volumeBindingMode: 'Immediate',
    });
    await claim(t, namespace, 'data', { storageClassName });
    const volume = await boundVolume(t, namespace, 'data');
    await t.kube.core.deleteNamespacedPersistentVolumeClaim({ name: 'data', namespace });
    await t.kube.waitForObject(
      { apiVersion: 'v1', kind: 'PersistentVolume', name: volume },
      (object) => (object === undefined ? done(undefined) : pending('it is still there')),
      { description: `PersistentVolume ${volume} to be gone`, timeoutMs: 60_000, signal: t.signal },
    );
  },
);

export const reclaimRetain = defineCase(
  {
    id: 'storage.reclaim.retain',
    area,
    title: 'With reclaim policy Retain the volume stays, Released',
    description: 'After the claim is deleted the PersistentVolume MUST be in phase Released and keep its claimRef.',
    requirements: ['001 §11', '003 Storage'],
    modes: ['full'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    const storageClassName = await classLikeDefault(t, 'retain', {
      reclaimPolicy: 'Retain',
      volumeBindingMode: 'Immediate',
    });
    await claim(t, namespace, 'data', { storageClassName });
    const volume = await boundVolume(t, namespace, 'data');
    // A retained volume is nobody's but ours to remove; with policy Delete the driver removes what is behind it too.
    t.onTeardown(async () => {
      await t.kube.core.patchPersistentVolume({
        name: volume,
        body: [{ op: 'replace', path: '/spec/persistentVolumeReclaimPolicy', value: 'Delete' }],
      });
    });
    await t.kube.core.deleteNamespacedPersistentVolumeClaim({ name: 'data', namespace });
    await t.waitFor('the volume to be Released', async () => {
      const { status, spec } = await t.kube.core.readPersistentVolume({ name: volume });
      return status?.phase === 'Released' && spec?.claimRef?.name === 'data'
        ? done(undefined)
        : pending(`${status?.phase}`);
    });
  },
);

export const missingClaim = defineCase(
  {
    id: 'storage.claim.missing',
    area,
    title: 'A pod whose claim does not exist waits and says so',
    description: 'The pod MUST stay Pending with the claim’s name in the reason, and start once the claim exists.',
    requirements: ['003 Storage'],
    modes: ['full'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    await createIdlePod(t, { namespace, name: 'early' }, { spec: volumeSpec('late'), container: mounted });
    expect(await unschedulable(t, { namespace, name: 'early' })).to.contain('persistentvolumeclaim "late" not found');
    await claim(t, namespace, 'late');
    await ready(t, { namespace, name: 'early' });
  },
);

export const nothingLeft = defineCase(
  {
    id: 'storage.unpublish.nothing-left',
    area,
    title: 'When the pod has gone its node has no mount of the volume left',
    description: 'After the pod is deleted no mount with the volume’s name MUST remain on its node.',
    requirements: ['001 §11'],
    modes: ['full'],
    needs: ['default-storage-class', 'node-probe'],
  },
  async (t) => {
    const namespace = await t.namespace();
    await claim(t, namespace, 'data');
    await mount(t, namespace, 'pod', 'data');
    const node = (await t.kube.core.readNamespacedPod({ name: 'pod', namespace })).spec?.nodeName ?? '';
    const uid = (await t.kube.core.readNamespacedPod({ name: 'pod', namespace })).metadata?.uid ?? '';
    const volume = await boundVolume(t, namespace, 'data');
    const probe = await t.probes.node(node);
    // Process 1 of the node is the one whose mounts the kubelet's are, in its own mount namespace.
    const mounts = async (): Promise<string[]> => {
      const { stdout } = await probe.exec(['/bin/busybox', 'cat', '/proc/1/mountinfo']);
      return stdout
        .toString()
        .split('\n')
        .filter((line) => line.includes(volume) || line.includes(uid));
    };
    expect((await mounts()).length, 'mounts while the pod runs').to.be.above(0);
    await remove(t, namespace, 'pod');
    await t.waitFor('the mounts to be gone', async () => {
      const left = await mounts();
      return left.length === 0 ? done(undefined) : pending(left.join('\n'));
    });
  },
);

const mounted = { volumeMounts: [{ name: 'data', mountPath }] };

function volumeSpec(claimName: string) {
  return {
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 65532,
      fsGroup: 65532,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName } }],
  };
}

function pinnedTo(node: string) {
  const matchFields = [{ key: 'metadata.name', operator: 'In', values: [node] }];
  return {
    affinity: {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields }] } },
    },
  };
}

async function claim(
  t: CaseContext,
  namespace: string,
  name: string,
  spec: V1PersistentVolumeClaimSpec = {},
): Promise<void> {
  await t.kube.core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '32Mi' } }, ...spec },
    },
  });
}

async function mount(
  t: CaseContext,
  namespace: string,
  name: string,
  claimName: string,
  container: object = {},
): Promise<void> {
  await createIdlePod(t, { namespace, name }, { spec: volumeSpec(claimName), container: { ...mounted, ...container } });
  await ready(t, { namespace, name });
}

async function remove(t: CaseContext, namespace: string, name: string): Promise<void> {
  await t.kube.core.deleteNamespacedPod({ name, namespace });
  await waitForPod(
    t,
    { namespace, name },
    {
      what: 'to be gone',
      condition: (pod) => (pod === undefined ? done(undefined) : pending('still there')),
    },
  );
}

async function sh(t: CaseContext, namespace: string, pod: string, script: string): Promise<string> {
  const { stdout, stderr, exitCode } = await t.kube.exec(['/bin/sh', '-c', script], {
    namespace,
    pod,
    container: 'main',
    signal: t.signal,
  });
  expect(exitCode, `${script}: ${stderr}`).to.equal(0);
  return stdout;
}

function boundVolume(t: CaseContext, namespace: string, name: string): Promise<string> {
  return t.waitFor(`claim ${name} to be Bound`, async () => {
    const { status, spec } = await t.kube.core.readNamespacedPersistentVolumeClaim({ name, namespace });
    return status?.phase === 'Bound' ? done(spec?.volumeName ?? '') : pending(`${status?.phase}`);
  });
}

/** A class of the case's own with the default class's driver. */
async function classLikeDefault(t: CaseContext, purpose: string, changes: Partial<V1StorageClass>): Promise<string> {
  const { items } = await t.kube.storage.listStorageClass();
  const model = items.find(
    ({ metadata }) => metadata?.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true',
  );
  expect(model, 'a default StorageClass').to.not.equal(undefined);
  const name = `plumb-${purpose}-${t.runId.slice(-8).toLowerCase()}`;
  const { provisioner = '', parameters, allowedTopologies } = model ?? {};
  await t.apply({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name },
    provisioner,
    ...(parameters !== undefined && { parameters }),
    ...(allowedTopologies !== undefined && { allowedTopologies }),
    ...changes,
  } as V1StorageClass);
  return name;
}

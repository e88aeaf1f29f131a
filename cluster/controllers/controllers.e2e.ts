// SPDX-License-Identifier: Apache-2.0
// The controllers against the real API server and etcd, with hollow nodes in place of scheduler and kubelets.
import 'reflect-metadata';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { expect } from 'chai';
import { X509Certificate, verify, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type {
  CertificateSigningRequest,
  ConfigMap,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Job,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  PodDisruptionBudget,
  ReplicaSet,
  ResourceQuota,
  Secret,
  StatefulSet,
} from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import { isNotFound } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';
import type { Resource } from '../machinery/resources.ts';
import { HollowNodes, TestCluster, until } from './test-cluster.ts';

const namespace = 'default';

describe('controllers', function () {
  this.timeout(30_000);
  let cluster: TestCluster;
  let client: Client;
  let nodes: HollowNodes;
  const stop = new AbortController();

  before(async () => {
    cluster = await TestCluster.start();
    client = cluster.client;
    nodes = new HollowNodes(client, ['n1', 'n2', 'n3']);
    await nodes.start(stop.signal);
  });

  afterEach(function () {
    if (this.currentTest?.state === 'failed') process.stderr.write(cluster.log('manager').slice(-4000));
  });

  after(async () => {
    stop.abort();
    await cluster?.stop();
  });

  const get = <T>(resource: Resource, name: string, inNamespace = namespace): Promise<T> =>
    client.get<T>(resource, name, resource.namespaced ? inNamespace : undefined);
  const podsOf = async (app: string): Promise<Pod[]> =>
    (await client.list<Pod>(resources.pods, { namespace, labelSelector: `app=${app}` })).items;
  const gone = async (resource: Resource, name: string): Promise<boolean> =>
    get(resource, name).then(() => false, isNotFound);
  const template = (app: string, image = 'one'): object => ({
    metadata: { labels: { app } },
    spec: { containers: [{ name: 'main', image, ports: [{ name: 'http', containerPort: 8080 }] }] },
  });
  const workload = (app: string, spec: object): object => ({
    metadata: { name: app, namespace },
    spec: { selector: { matchLabels: { app } }, template: template(app), ...spec },
  });

  it('gives nodes their pod CIDRs and namespaces their account and CA', async () => {
    await until(async () => {
      const cidrs = await Promise.all(
        ['n1', 'n2', 'n3'].map(async (name) => (await get<Node>(resources.nodes, name)).spec?.podCIDR),
      );
      return new Set(cidrs).size === 3 && cidrs.every((cidr) => /^10\.244\.\d+\.0\/24$/.test(cidr ?? ''));
    }, 'nodes have no pod CIDRs');
    await client.create(resources.namespaces, { metadata: { name: 'fresh' } });
    await until(async () => {
      await get(resources.serviceAccounts, 'default', 'fresh');
      const map = await get<ConfigMap>(resources.configMaps, 'kube-root-ca.crt', 'fresh');
      return map.data?.['ca.crt']?.includes('BEGIN CERTIFICATE') ?? false;
    }, 'the namespace lacks its account or CA');
  });

  it('empties and removes a namespace, and waits for finalizers', async () => {
    const metadata = { name: 'held', namespace: 'fresh', finalizers: ['test.plumb/hold'] };
    await client.create(resources.configMaps, { metadata });
    await client.create(resources.deployments, {
      ...workload('doomed', {}),
      metadata: { name: 'doomed', namespace: 'fresh' },
    });
    await client.delete(resources.namespaces, 'fresh');
    await until(async () => {
      const live = await get<Namespace>(resources.namespaces, 'fresh');
      return (
        live.status?.conditions?.some(
          ({ type, status }) => type === 'NamespaceFinalizersRemaining' && status === 'True',
        ) ?? false
      );
    }, 'the namespace does not say what it waits for');
    await client.patch(resources.configMaps, 'held', {
      namespace: 'fresh',
      type: 'merge',
      body: { metadata: { finalizers: null } },
    });
    await until(() => gone(resources.namespaces, 'fresh'), 'the namespace is still there');
  });

  it('removes the pods of a namespace before everything else', async () => {
    await client.create(resources.namespaces, { metadata: { name: 'ordered' } });
    await client.create(resources.configMaps, { metadata: { name: 'needed', namespace: 'ordered' } });
    const hold = { name: 'held', namespace: 'ordered', finalizers: ['test.plumb/hold'] };
    await client.create(resources.pods, { metadata: hold, spec: { containers: [{ name: 'c', image: 'i' }] } });
    await client.delete(resources.namespaces, 'ordered');
    await until(async () => {
      const { status } = await get<Namespace>(resources.namespaces, 'ordered');
      const remaining = status?.conditions?.find(({ type }) => type === 'NamespaceContentRemaining');
      return remaining?.message === 'Some resources are remaining: pods has 1 resource instances';
    }, 'the namespace does not wait for its pod alone');
    expect((await get<ConfigMap>(resources.configMaps, 'needed', 'ordered')).metadata.deletionTimestamp).to.equal(
      undefined,
    );
    const body = { metadata: { finalizers: null } };
    await client.patch(resources.pods, 'held', { namespace: 'ordered', type: 'merge', body });
    await until(() => gone(resources.namespaces, 'ordered'), 'the namespace is still there');
  });

  it('rolls a deployment out, back, and keeps it available meanwhile', async () => {
    await client.create(resources.deployments, workload('web', { replicas: 4 }));
    const complete = (image: string) => async (): Promise<boolean> => {
      const live = await get<Deployment>(resources.deployments, 'web');
      const pods = await podsOf('web');
      return (
        live.status?.availableReplicas === 4 &&
        live.status.observedGeneration === live.metadata.generation &&
        pods.length === 4 &&
        pods.every(({ spec }) => spec?.containers[0]?.image === image)
      );
    };
    await until(complete('one'), 'the first roll-out is not complete');
    let fewest = Infinity;
    let most = 0;
    nodes.pods.onChange(() => {
      const mine = nodes.pods
        .list(namespace)
        .filter(({ metadata }) => metadata.labels?.['app'] === 'web' && !metadata.deletionTimestamp);
      const ready = mine.filter(({ status }) =>
        status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
      );
      fewest = Math.min(fewest, ready.length);
      most = Math.max(most, mine.length);
    });
    await client.patch(resources.deployments, 'web', {
      namespace,
      type: 'merge',
      body: { spec: { template: template('web', 'two') } },
    });
    await until(complete('two'), 'the second roll-out is not complete');
    expect(fewest).to.be.at.least(3);
    expect(most).to.be.at.most(5);
    await client.patch(resources.deployments, 'web', {
      namespace,
      type: 'merge',
      body: { spec: { template: template('web', 'one') } },
    });
    await until(complete('one'), 'the roll-back is not complete');
    const live = await get<Deployment>(resources.deployments, 'web');
    expect(live.metadata.annotations?.['deployment.kubernetes.io/revision']).to.equal('3');
    const sets = (await client.list<ReplicaSet>(resources.replicaSets, { namespace, labelSelector: 'app=web' })).items;
    expect(sets.map(({ spec }) => spec?.replicas).toSorted()).to.deep.equal([0, 4]);
    await until(async () => {
      const { status } = await get<Deployment>(resources.deployments, 'web');
      return status?.conditions?.some(({ reason }) => reason === 'NewReplicaSetAvailable') ?? false;
    }, 'Progressing does not say NewReplicaSetAvailable');
  });

  it('follows a Service’s pods with Endpoints and EndpointSlices', async () => {
    const spec = { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] };
    await client.create(resources.services, { metadata: { name: 'web', namespace }, spec });
    const slice = async (): Promise<EndpointSlice | undefined> =>
      (
        await client.list<EndpointSlice>(resources.endpointSlices, {
          namespace,
          labelSelector: 'kubernetes.io/service-name=web',
        })
      ).items[0];
    await until(
      async () => (await slice())?.endpoints?.filter(({ conditions }) => conditions?.ready).length === 4,
      'not four endpoints',
    );
    expect((await slice())?.ports).to.deep.equal([{ name: '', port: 8080, protocol: 'TCP' }]);
    expect((await slice())?.endpoints?.[0]?.zone).to.match(/^zone-n/);
    await client.patch(resources.deployments, 'web', { namespace, type: 'merge', body: { spec: { replicas: 2 } } });
    await until(async () => (await slice())?.endpoints?.length === 2, 'endpoints were not removed');
  });

  it('rolls a daemon set over all nodes and updates it one node at a time', async () => {
    await client.create(resources.daemonSets, workload('agent', {}));
    const done = (image: string) => async (): Promise<boolean> => {
      const { status } = await get<DaemonSet>(resources.daemonSets, 'agent');
      const pods = await podsOf('agent');
      return (
        status?.numberAvailable === 3 &&
        new Set(pods.map(({ spec }) => spec?.nodeName)).size === 3 &&
        pods.every(({ spec }) => spec?.containers[0]?.image === image)
      );
    };
    await until(done('one'), 'not a pod on every node');
    await client.patch(resources.daemonSets, 'agent', {
      namespace,
      type: 'merge',
      body: { spec: { template: template('agent', 'two') } },
    });
    await until(done('two'), 'the update is not complete');
    await client.delete(resources.daemonSets, 'agent', { namespace, propagationPolicy: 'Foreground' });
    await until(
      async () => (await podsOf('agent')).length === 0 && (await gone(resources.daemonSets, 'agent')),
      'foreground deletion hangs',
    );
  });

  it('starts, updates and shrinks a stateful set in order, with its claims', async () => {
    const claim = {
      metadata: { name: 'data' },
      spec: { accessModes: ['ReadWriteOnce'], storageClassName: '', resources: { requests: { storage: '1Gi' } } },
    };
    await client.create(
      resources.statefulSets,
      workload('db', { serviceName: 'db', replicas: 3, volumeClaimTemplates: [claim] }),
    );
    const born: string[] = [];
    nodes.pods.onChange(({ type, object }) => {
      if (object.metadata.labels?.['app'] === 'db' && type !== 'updated') born.push(`${type} ${object.metadata.name}`);
    });
    const ready = (image: string, replicas: number) => async (): Promise<boolean> => {
      const { status } = await get<StatefulSet>(resources.statefulSets, 'db');
      const pods = await podsOf('db');
      return (
        status?.readyReplicas === replicas &&
        pods.length === replicas &&
        pods.every(({ spec }) => spec?.containers[0]?.image === image)
      );
    };
    await until(ready('one', 3), 'the set is not ready');
    expect(born).to.deep.equal(['added db-0', 'added db-1', 'added db-2']);
    expect(
      (await get<PersistentVolumeClaim>(resources.persistentVolumeClaims, 'data-db-2')).spec?.resources?.requests?.[
        'storage'
      ],
    ).to.equal('1Gi');
    born.length = 0;
    await client.patch(resources.statefulSets, 'db', {
      namespace,
      type: 'merge',
      body: { spec: { template: template('db', 'two') } },
    });
    await until(ready('two', 3), 'the update is not complete');
    expect(born).to.deep.equal([
      'deleted db-2',
      'added db-2',
      'deleted db-1',
      'added db-1',
      'deleted db-0',
      'added db-0',
    ]);
    await client.patch(resources.statefulSets, 'db', { namespace, type: 'merge', body: { spec: { replicas: 1 } } });
    await until(ready('two', 1), 'the set did not shrink');
    const live = await get<StatefulSet>(resources.statefulSets, 'db');
    expect(live.status?.currentRevision).to.equal(live.status?.updateRevision);
  });

  it('runs jobs to completion, by index, and to failure', async () => {
    nodes.outcome = ({ metadata }) => {
      if (metadata.labels?.['app'] === 'work') return 'succeeded';
      return metadata.labels?.['app'] === 'fail' ? { exitCode: 42 } : 'ready';
    };
    const job = (app: string, spec: object): object => ({
      metadata: { name: app, namespace },
      spec: {
        template: {
          metadata: { labels: { app } },
          spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'one' }] },
        },
        ...spec,
      },
    });
    await client.create(resources.jobs, job('work', { completions: 3, parallelism: 2, completionMode: 'Indexed' }));
    const rules = [{ action: 'FailJob', onExitCodes: { operator: 'In', values: [42] } }];
    await client.create(resources.jobs, job('fail', { podFailurePolicy: { rules } }));
    const ended = async (name: string): Promise<Job['status']> => (await get<Job>(resources.jobs, name)).status;
    await until(
      async () => (await ended('work'))?.conditions?.some(({ type }) => type === 'Complete') ?? false,
      'the job is not complete',
    );
    expect(await ended('work')).to.include({ succeeded: 3, completedIndexes: '0-2' });
    await until(
      async () => (await ended('fail'))?.conditions?.some(({ type }) => type === 'Failed') ?? false,
      'the job has not failed',
    );
    expect((await ended('fail'))?.conditions?.find(({ type }) => type === 'Failed')?.reason).to.equal(
      'PodFailurePolicy',
    );
    await client.delete(resources.jobs, 'work', { namespace, propagationPolicy: 'Background' });
    await until(async () => (await podsOf('work')).length === 0, 'the job’s pods are still there');
  });

  it('gives a Job its pod back, and lets go of one that it does not select', async () => {
    await client.create(resources.jobs, {
      metadata: { name: 'keeper', namespace },
      spec: {
        template: {
          metadata: { labels: { app: 'keeper' } },
          spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'one' }] },
        },
      },
    });
    await until(async () => (await podsOf('keeper')).length === 1, 'no pod');
    const name = (await podsOf('keeper'))[0]?.metadata.name ?? '';
    const { uid } = (await get<Job>(resources.jobs, 'keeper')).metadata;
    const finalizer = 'batch.kubernetes.io/job-tracking';
    const owners = async (): Promise<unknown[]> =>
      ((await get<Pod>(resources.pods, name)).metadata.ownerReferences ?? []).map((owner) => owner.uid);
    await client.patch(resources.pods, name, {
      namespace,
      type: 'merge',
      body: { metadata: { ownerReferences: null, finalizers: null } },
    });
    await until(async () => (await owners())[0] === uid, 'the pod was not adopted');
    expect((await get<Pod>(resources.pods, name)).metadata.finalizers).to.deep.equal([finalizer]);
    await client.patch(resources.pods, name, { namespace, type: 'merge', body: { metadata: { labels: null } } });
    const isFree = async (): Promise<boolean> =>
      (await owners()).length === 0 && (await get<Pod>(resources.pods, name)).metadata.finalizers === undefined;
    await until(isFree, 'the pod was not released');
    await client.delete(resources.jobs, 'keeper', { namespace, propagationPolicy: 'Background' });
    await client.delete(resources.pods, name, { namespace });
  });

  it('orphans dependents when asked to', async () => {
    await client.create(resources.replicaSets, workload('loose', { replicas: 1 }));
    await until(async () => (await podsOf('loose')).length === 1, 'no pod');
    await client.delete(resources.replicaSets, 'loose', { namespace, propagationPolicy: 'Orphan' });
    await until(() => gone(resources.replicaSets, 'loose'), 'the set is still there');
    const [orphan] = await podsOf('loose');
    expect(orphan?.metadata.ownerReferences ?? []).to.deep.equal([]);
    await client.create(resources.replicaSets, workload('loose', { replicas: 1 }));
    await until(
      async () => (await podsOf('loose'))[0]?.metadata.ownerReferences?.length === 1,
      'the orphan was not adopted',
    );
    expect((await podsOf('loose'))[0]?.metadata.uid).to.equal(orphan?.metadata.uid);
  });

  it('binds a claim to the smallest fitting volume and releases it', async () => {
    const volume = (name: string, storage: string): object => ({
      metadata: { name },
      spec: {
        capacity: { storage },
        accessModes: ['ReadWriteOnce'],
        hostPath: { path: '/x' },
        storageClassName: 'manual',
        persistentVolumeReclaimPolicy: 'Retain',
      },
    });
    await client.create(resources.persistentVolumes, volume('large', '10Gi'));
    await client.create(resources.persistentVolumes, volume('small', '2Gi'));
    await until(
      async () => (await get<PersistentVolume>(resources.persistentVolumes, 'small')).status?.phase === 'Available',
      'not available',
    );
    const spec = {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'manual',
      resources: { requests: { storage: '1Gi' } },
    };
    await client.create(resources.persistentVolumeClaims, { metadata: { name: 'c', namespace }, spec });
    await until(
      async () => (await get<PersistentVolumeClaim>(resources.persistentVolumeClaims, 'c')).status?.phase === 'Bound',
      'not bound',
    );
    const bound = await get<PersistentVolumeClaim>(resources.persistentVolumeClaims, 'c');
    expect(bound.spec?.volumeName).to.equal('small');
    expect(bound.status?.capacity?.['storage']).to.equal('2Gi');
    await client.delete(resources.persistentVolumeClaims, 'c', { namespace });
    await until(
      async () => (await get<PersistentVolume>(resources.persistentVolumes, 'small')).status?.phase === 'Released',
      'not released',
    );
  });

  it('detaches what no pod needs, but only what it attached itself', async () => {
    const attachment = (name: string): object => ({
      metadata: { name },
      spec: { attacher: 'example.com/driver', nodeName: 'n1', source: { persistentVolumeName: 'none' } },
    });
    const own = `csi-${'0'.repeat(64)}`;
    await client.create(resources.volumeAttachments, attachment('foreign'));
    await client.create(resources.volumeAttachments, attachment(own));
    await until(
      () => get(resources.volumeAttachments, own).then(() => false, isNotFound),
      'an attachment that no pod needs stays',
    );
    await get(resources.volumeAttachments, 'foreign');
    await client.delete(resources.volumeAttachments, 'foreign');
  });

  it('counts quotas and disruption budgets', async () => {
    await client.create(resources.resourceQuotas, {
      metadata: { name: 'q', namespace },
      spec: { hard: { services: '10', 'count/deployments.apps': '5' } },
    });
    await until(
      async () =>
        (await get<ResourceQuota>(resources.resourceQuotas, 'q')).status?.used?.['count/deployments.apps'] === '1',
      'the quota does not count',
    );
    await client.create(resources.podDisruptionBudgets, {
      metadata: { name: 'b', namespace },
      spec: { maxUnavailable: '50%', selector: { matchLabels: { app: 'web' } } },
    });
    await until(
      async () =>
        (await get<PodDisruptionBudget>(resources.podDisruptionBudgets, 'b')).status?.disruptionsAllowed === 1,
      'the budget allows nothing',
    );
  });

  it('approves and signs a kubelet’s certificate request, and refuses a wrong one', async () => {
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const request = async (name: string, signerName: string, subject: string): Promise<void> => {
      const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
      const csr = await Pkcs10CertificateRequestGenerator.create({ name: subject, keys, signingAlgorithm });
      const spec = {
        request: Buffer.from(csr.toString('pem')).toString('base64'),
        signerName,
        usages: ['client auth', 'digital signature'],
      };
      await client.create(resources.certificateSigningRequests, { metadata: { name }, spec });
    };
    const kubelet = 'kubernetes.io/kube-apiserver-client-kubelet';
    await request('good', kubelet, 'O=system:nodes, CN=system:node:n9');
    const status = async (name: string): Promise<CertificateSigningRequest['status']> =>
      (await get<CertificateSigningRequest>(resources.certificateSigningRequests, name)).status;
    await until(async () => (await status('good'))?.certificate !== undefined, 'not signed');
    const certificate = new X509Certificate(Buffer.from((await status('good'))?.certificate ?? '', 'base64'));
    expect(certificate.subject).to.include('CN=system:node:n9');
    expect(certificate.checkIssued(new X509Certificate(readFileSync(`${cluster.directory}/ca.crt`)))).to.equal(true);
    await request('bad', kubelet, 'O=system:masters, CN=me');
    const condition = { type: 'Approved', status: 'True', reason: 'ByHand', message: '' };
    const bad = await get<CertificateSigningRequest>(resources.certificateSigningRequests, 'bad');
    await client.update(
      resources.certificateSigningRequests,
      { ...bad, status: { conditions: [condition] } },
      { subresource: 'approval' },
    );
    await until(
      async () => (await status('bad'))?.conditions?.some(({ type }) => type === 'Failed') ?? false,
      'not refused',
    );
    expect((await status('bad'))?.certificate).to.equal(undefined);
  });

  it('fills a token secret', async () => {
    const metadata = { name: 'token', namespace, annotations: { 'kubernetes.io/service-account.name': 'default' } };
    await client.create(resources.secrets, { metadata, type: 'kubernetes.io/service-account-token' });
    const data = async (key: string): Promise<string> =>
      Buffer.from((await get<Secret>(resources.secrets, 'token')).data?.[key] ?? '', 'base64').toString();
    await until(async () => (await data('token')).split('.').length === 3, 'the secret has no token');
    const [header = '', payload = '', signature = ''] = (await data('token')).split('.');
    const key = { key: readFileSync(`${cluster.directory}/sa.pub`), dsaEncoding: 'ieee-p1363' as const };
    expect(verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))).to.equal(
      true,
    );
    expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).to.include({
      sub: 'system:serviceaccount:default:default',
    });
    expect(await data('namespace')).to.equal('default');
  });

  it('taints a silent node and evicts from it what does not tolerate that', async () => {
    const pod = (name: string, tolerationSeconds: number): object => ({
      metadata: { name, namespace },
      spec: {
        nodeName: 'n3',
        containers: [{ name: 'main', image: 'one' }],
        tolerations: [
          { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds },
        ],
      },
    });
    await client.create(resources.pods, pod('quick', 0));
    await client.create(resources.pods, pod('patient', 3600));
    const isReady = async (name: string): Promise<string | undefined> =>
      (await get<Pod>(resources.pods, name)).status?.conditions?.find(({ type }) => type === 'Ready')?.status;
    await until(async () => (await isReady('patient')) === 'True', 'the pod is not ready');
    nodes.silent.add('n3');
    await until(
      async () => (await get<Pod>(resources.pods, 'quick')).metadata.deletionTimestamp !== undefined,
      'not evicted',
    );
    await until(async () => (await isReady('patient')) === 'False', 'the pod of the silent node is still called ready');
    const node = await get<Node>(resources.nodes, 'n3');
    expect(node.spec?.taints?.map(({ key, effect }) => `${key}:${effect}`).toSorted()).to.deep.equal([
      'node.kubernetes.io/unreachable:NoExecute',
      'node.kubernetes.io/unreachable:NoSchedule',
    ]);
    expect((await get<Pod>(resources.pods, 'patient')).metadata.deletionTimestamp).to.equal(undefined);
    nodes.silent.delete('n3');
    await nodes.beat('n3');
    nodes.retry();
    await until(
      async () => ((await get<Node>(resources.nodes, 'n3')).spec?.taints ?? []).length === 0,
      'the taints stay',
    );
  });
});

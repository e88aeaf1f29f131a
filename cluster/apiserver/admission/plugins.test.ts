// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { createDefinitions } from '../resources/catalogue.ts';
import type { AdmissionAttributes, KubeObject, Registry } from '../resources/definition.ts';
import { memoryRegistry, testConfig, testContext } from '../resources/testing.ts';
import { admissionPlugins } from './plugins.ts';
import { defaultTolerationSeconds } from './scheduling-defaults.ts';

const definitions = createDefinitions(testConfig);
const plugins = admissionPlugins(testConfig);

function object(kind: string, metadata: object, rest: object = {}): KubeObject {
  return { apiVersion: 'v1', kind, metadata, ...rest } as KubeObject;
}

const inNamespace = { namespace: 'ns' };
const account = object('ServiceAccount', { ...inNamespace, name: 'default' }, { imagePullSecrets: [{ name: 'pull' }] });

function pod(spec: object = {}): KubeObject {
  return object(
    'Pod',
    { ...inNamespace, name: 'web' },
    { spec: { containers: [{ name: 'c', image: 'x' }], ...structuredClone(spec) } },
  );
}

/** Runs all plugins over a create; the error is the answer when there is one. */
async function admit(
  plural: string,
  created: KubeObject,
  stored: Readonly<Record<string, readonly KubeObject[]>> | Registry,
): Promise<{ error?: string; warnings: string[] }> {
  const registry =
    'get' in stored
      ? (stored as Registry)
      : memoryRegistry({ namespaces: [object('Namespace', { name: 'ns' })], serviceaccounts: [account], ...stored });
  const definition = definitions.find((candidate) => candidate.plural === plural);
  const context = testContext(registry, { namespace: 'ns', resource: plural });
  if (definition === undefined) {
    throw new Error(`no definition of ${plural}`);
  }
  const attributes: AdmissionAttributes = { operation: 'CREATE', definition, context, object: created };
  try {
    for (const { mutate } of plugins) {
      await mutate?.(attributes);
    }
    definition.default?.(created);
    for (const { validate } of plugins) {
      await validate?.(attributes);
    }
    return { warnings: context.warnings };
  } catch (error) {
    return { error: (error as Error).message, warnings: context.warnings };
  }
}

describe('admission', () => {
  it('gives a pod its account, token, pull secrets, priority and tolerations', async () => {
    const created = pod();
    expect(await admit('pods', created, {})).to.deep.equal({ warnings: [] });
    const spec = created['spec'] as Record<string, unknown>;
    expect(spec).to.deep.include({ serviceAccountName: 'default', imagePullSecrets: [{ name: 'pull' }], priority: 0 });
    const [{ name }] = spec['volumes'] as [{ name: string }];
    expect(name).to.match(/^kube-api-access-[a-z0-9]{5}$/);
    expect((spec['containers'] as [{ volumeMounts: object[] }])[0].volumeMounts).to.deep.equal([
      { name, readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
    ]);
    expect((spec['tolerations'] as { key: string }[]).map(({ key }) => key)).to.deep.equal([
      'node.kubernetes.io/not-ready',
      'node.kubernetes.io/unreachable',
    ]);
  });

  it('gives the tolerations back to a pod whose tolerations are replaced', () => {
    const changed = { ...pod(), spec: { containers: [], tolerations: [{ key: 'own', operator: 'Exists' }] } };
    void defaultTolerationSeconds.mutate?.({
      operation: 'UPDATE',
      definition: { group: '', plural: 'pods' },
      context: {},
      object: changed,
    } as unknown as AdmissionAttributes);
    expect(changed.spec.tolerations.map(({ key }) => key)).to.deep.equal([
      'own',
      'node.kubernetes.io/not-ready',
      'node.kubernetes.io/unreachable',
    ]);
  });

  it('lets nothing into namespaces that are missing or going', async () => {
    const going = object('Namespace', { name: 'ns', deletionTimestamp: '2026-01-01T00:00:00Z' });
    expect(
      (await admit('configmaps', object('ConfigMap', { ...inNamespace, name: 'a' }), { namespaces: [] })).error,
    ).to.equal('namespaces "ns" not found');
    expect((await admit('pods', pod(), { namespaces: [going] })).error).to.equal(
      'pods "web" is forbidden: unable to create new content in namespace ns because it is being terminated',
    );
  });

  it('holds pods to the level of their namespace', async () => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    const stored = { namespaces: [object('Namespace', { name: 'ns', labels })] };
    expect((await admit('pods', pod(), stored)).error).to.equal(
      'pods "web" is forbidden: violates PodSecurity "restricted:latest": ' +
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ' +
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ' +
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ' +
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
    );
    const good = {
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'c',
          image: 'x',
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    };
    expect((await admit('pods', pod(good), stored)).error).to.equal(undefined);
    expect((await admit('pods', pod({ ...good, hostNetwork: true }), stored)).error).to.contain(
      'host namespaces (hostNetwork=true)',
    );
  });

  it('charges quotas, and refuses what exceeds them', async () => {
    const quota = object(
      'ResourceQuota',
      { ...inNamespace, name: 'rq' },
      {
        spec: { hard: { pods: '1', 'requests.memory': '1Gi' } },
        status: { hard: { pods: '1', 'requests.memory': '1Gi' }, used: { pods: '0', 'requests.memory': '512Mi' } },
      },
    );
    const registry = memoryRegistry({
      namespaces: [object('Namespace', { name: 'ns' })],
      serviceaccounts: [account],
      resourcequotas: [quota],
    });
    const asking = (memory: string) =>
      pod({ containers: [{ name: 'c', image: 'x', resources: { requests: { memory } } }] });
    expect((await admit('pods', pod(), registry)).error).to.equal(
      'pods "web" is forbidden: failed quota: rq: must specify requests.memory for: c',
    );
    expect((await admit('pods', asking('1Gi'), registry)).error).to.equal(
      'pods "web" is forbidden: exceeded quota: rq, requested: requests.memory=1Gi, used: requests.memory=512Mi, limited: requests.memory=1Gi',
    );
    expect((await admit('pods', asking('512Mi'), registry)).error).to.equal(undefined);
    expect(registry.get('resourcequotas', 'ns', 'rq')?.['status']).to.deep.include({
      used: { pods: '1', 'requests.memory': '1Gi' },
    });
    expect((await admit('pods', asking('1Mi'), registry)).error).to.contain('requested: pods=1');
  });

  it('fills in and checks limits of containers', async () => {
    const limits = [
      { type: 'Container', max: { cpu: '500m' }, default: { cpu: '200m' }, defaultRequest: { cpu: '100m' } },
    ];
    const stored = { limitranges: [object('LimitRange', { ...inNamespace, name: 'lr' }, { spec: { limits } })] };
    const created = pod();
    expect((await admit('pods', created, stored)).error).to.equal(undefined);
    expect((created['spec'] as { containers: [{ resources: object }] }).containers[0].resources).to.deep.equal({
      requests: { cpu: '100m' },
      limits: { cpu: '200m' },
    });
    const greedy = pod({ containers: [{ name: 'c', image: 'x', resources: { limits: { cpu: '2' } } }] });
    expect((await admit('pods', greedy, stored)).error).to.equal(
      'pods "web" is forbidden: maximum cpu usage per Container is 500m, but limit is 2',
    );
  });

  it('chooses the newest default storage class and protects claims in use', async () => {
    const storageClass = (name: string, creationTimestamp: string) =>
      object('StorageClass', {
        name,
        creationTimestamp,
        annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' },
      });
    const stored = {
      'storageclasses.storage.k8s.io': [
        storageClass('old', '2025-01-01T00:00:00Z'),
        storageClass('new', '2026-01-01T00:00:00Z'),
      ],
    };
    const claim = object('PersistentVolumeClaim', { ...inNamespace, name: 'data' }, { spec: {} });
    await admit('persistentvolumeclaims', claim, stored);
    expect(claim['spec']).to.deep.include({ storageClassName: 'new' });
    expect(claim.metadata.finalizers).to.deep.equal(['kubernetes.io/pvc-protection']);
  });

  it('knows priority classes by name only', async () => {
    const critical = pod({ priorityClassName: 'system-node-critical' });
    await admit('pods', critical, {});
    expect(critical['spec']).to.deep.include({ priority: 2_000_001_000 });
    expect((await admit('pods', pod({ priorityClassName: 'none' }), {})).error).to.equal(
      'pods "web" is forbidden: no PriorityClass with name none was found',
    );
  });
});

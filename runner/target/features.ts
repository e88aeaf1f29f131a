// SPDX-License-Identifier: Apache-2.0
/** Finds out which needs of the planned cases the cluster meets, and how that is known. Only what some case asks for is looked at. */
import type { V1Pod } from '@kubernetes/client-node';
import { needs, type ClusterFacts, type Need } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { createNamespace, deleteNamespace } from '../execute/namespaces.ts';
import { readableMessage } from '../execute/failure.ts';
import { isReady } from './cluster-facts.ts';
import { pause } from './pause.ts';
import { startProbePod } from './probe-pod.ts';

export interface Feature {
  readonly present: boolean;
  readonly detail: string;
}

export interface FeatureInput {
  readonly kube: KubeClients;
  readonly facts: ClusterFacts;
  readonly nodeProbes: boolean;
  /** What preflight's pod showed; undefined before there is one: features that need pods then count as present, "not tried". */
  readonly trial:
    | {
        readonly pod: V1Pod;
        readonly namespace: string;
        readonly runId: string;
        readonly image: string;
        readonly signal: AbortSignal;
      }
    | undefined;
}

export async function detectFeatures(wanted: ReadonlySet<Need>, input: FeatureInput): Promise<Record<string, Feature>> {
  const names = (Object.keys(needs) as Need[]).filter((need) => wanted.has(need));
  const found = await Promise.all(
    names.map(async (need): Promise<[Need, Feature]> => {
      try {
        return [need, await detectors[need](input)];
      } catch (error) {
        return [need, { present: false, detail: `could not be found out: ${readableMessage(error)}` }];
      }
    }),
  );
  return Object.fromEntries(found);
}

type Detector = (input: FeatureInput) => Promise<Feature>;

const notTried: Feature = { present: true, detail: 'not tried' };

const detectors: Readonly<Record<Need, Detector>> = {
  'two-nodes': async ({ facts }) => count(facts.workers.length, 2, 'Ready nodes for ordinary pods'),
  'three-nodes': async ({ facts }) => count(facts.nodes.filter(isReady).length, 3, 'Ready nodes'),
  'control-plane-pods': async ({ facts }) => count(facts.controlPlanes.length, 1, 'nodes with the role control-plane'),
  'node-probe': async ({ nodeProbes }) => ({
    present: nodeProbes,
    detail: nodeProbes ? 'allowed' : 'left out by --no-node-probes',
  }),
  'default-storage-class': async ({ kube }) => {
    const found = await defaultStorageClass(kube);
    return found === undefined ? absent('no StorageClass is marked as default') : present(`StorageClass ${found.name}`);
  },
  'volume-expansion': async ({ kube }) => {
    const found = await defaultStorageClass(kube);
    if (found === undefined) return absent('no StorageClass is marked as default');
    return { present: found.expansion, detail: `StorageClass ${found.name}: allowVolumeExpansion ${found.expansion}` };
  },
  'network-policy': async (input) => (input.trial === undefined ? notTried : policyIsEnforced(input, input.trial)),
  'cluster-network-policy': async ({ kube }) => {
    const path = '/apis/policy.networking.k8s.io/v1alpha2';
    const response = await kube.request({ path });
    const served = response.status === 200 && response.body.includes('"clusternetworkpolicies"');
    return served ? present(`${path} has clusternetworkpolicies`) : absent(`${path} has no clusternetworkpolicies`);
  },
  'ingress-controller': async ({ kube }) => {
    const { items } = await kube.networking.listIngressClass();
    const names = items.map((item) => item.metadata?.name).join(', ');
    return items.length === 0 ? absent('no IngressClass') : present(`IngressClass ${names}`);
  },
  'load-balancer': async (input) => (input.trial === undefined ? notTried : balancerGivesAddress(input, input.trial)),
  'metrics-api': async ({ kube }) => {
    const { status } = await kube.request({ path: '/apis/metrics.k8s.io/v1beta1' });
    return status === 200 ? present('metrics.k8s.io/v1beta1') : absent(`metrics.k8s.io/v1beta1 answers ${status}`);
  },
  'etcd-metrics': async ({ facts, nodeProbes }) => {
    if (facts.controlPlanes.length === 0)
      return absent('no node has the role control-plane (a managed control plane hides etcd)');
    return nodeProbes ? present('a node probe can ask on the control-plane node') : absent('node probes are left out');
  },
  'pod-security-admission': async ({ kube, trial }) =>
    trial === undefined ? notTried : privilegedIsRefused(kube, trial.namespace),
  ipv6: async ({ trial }) => {
    if (trial === undefined) return notTried;
    const addresses = (trial.pod.status?.podIPs ?? []).map((one) => one.ip);
    return { present: addresses.some((ip) => ip.includes(':')), detail: `pods get ${addresses.join(' and ')}` };
  },
  'cluster-dns': async ({ facts }) =>
    facts.dnsServiceIp === undefined
      ? absent('no Service kube-system/kube-dns')
      : present(`kube-dns is ${facts.dnsServiceIp}`),
};

function present(detail: string): Feature {
  return { present: true, detail };
}

function absent(detail: string): Feature {
  return { present: false, detail };
}

function count(found: number, least: number, what: string): Feature {
  return { present: found >= least, detail: `${found} ${what}` };
}

async function defaultStorageClass(kube: KubeClients): Promise<{ name: string; expansion: boolean } | undefined> {
  const { items } = await kube.storage.listStorageClass();
  const found = items.find(
    (item) => item.metadata?.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true',
  );
  return found === undefined
    ? undefined
    : { name: found.metadata?.name ?? '', expansion: found.allowVolumeExpansion === true };
}

type Trial = NonNullable<FeatureInput['trial']>;

/** Asks the server, without keeping anything, for a pod that level restricted forbids. */
async function privilegedIsRefused(kube: KubeClients, namespace: string): Promise<Feature> {
  const response = await kube.request({
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/pods?dryRun=All`,
    body: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'forbidden' },
      spec: { containers: [{ name: 'forbidden', image: 'forbidden', securityContext: { privileged: true } }] },
    },
  });
  return response.status === 403
    ? present('a privileged pod is refused where the level is restricted')
    : absent(`a privileged pod in a namespace of level restricted is answered with ${response.status}`);
}

const policyTimeoutMs = 15_000;

/** Positive control first: the page can be fetched; then a policy that allows nothing; then it cannot any more. */
async function policyIsEnforced({ kube }: FeatureInput, trial: Trial): Promise<Feature> {
  const { runId, signal } = trial;
  const namespace = await createNamespace(kube, { runId, purpose: 'feature-policy', signal });
  try {
    const script = 'mkdir -p /tmp/www && echo plumb >/tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www';
    const server = await startProbePod(kube, { ...trial, namespace, name: 'server', script });
    const fetchPage = async (): Promise<boolean> => {
      const url = `http://${server.status?.podIP}:8080/`;
      const target = { namespace: trial.namespace, pod: 'preflight', container: 'probe', signal };
      // Not `wget -T`: it crashes in the static busybox 1.35 of Debian 12.
      return (await kube.exec(['timeout', '1', 'busybox', 'wget', '-q', '-O', '-', url], target)).exitCode === 0;
    };
    const until = async (wanted: boolean): Promise<boolean> => {
      const deadline = performance.now() + policyTimeoutMs;
      while (performance.now() < deadline && !signal.aborted) {
        if ((await fetchPage()) === wanted) return true;
        await pause(250, signal);
      }
      return false;
    };
    if (!(await until(true))) return absent('not to be found out: a pod without any policy cannot be reached either');
    await kube.networking.createNamespacedNetworkPolicy({
      namespace,
      body: { metadata: { name: 'deny-all' }, spec: { podSelector: {}, policyTypes: ['Ingress'] } },
    });
    return (await until(false))
      ? present('a policy that allows nothing stopped a flow that passed before')
      : absent(
          `a policy that allows nothing stopped nothing within ${policyTimeoutMs / 1000} s: the network plugin does not enforce policies`,
        );
  } finally {
    await deleteNamespace(kube, namespace);
  }
}

const balancerTimeoutMs = 20_000;

async function balancerGivesAddress({ kube }: FeatureInput, trial: Trial): Promise<Feature> {
  const name = 'feature-load-balancer';
  const { namespace, signal } = trial;
  await kube.core.createNamespacedService({
    namespace,
    body: {
      metadata: { name },
      spec: { type: 'LoadBalancer', selector: { app: 'preflight' }, ports: [{ port: 80, targetPort: 8080 }] },
    },
  });
  try {
    const deadline = performance.now() + balancerTimeoutMs;
    while (performance.now() < deadline && !signal.aborted) {
      const ingress = (await kube.core.readNamespacedService({ name, namespace })).status?.loadBalancer?.ingress?.[0];
      if (ingress !== undefined) return present(`a Service got ${ingress.ip ?? ingress.hostname}`);
      await pause(500, signal);
    }
    return absent(`a Service of type LoadBalancer got no address within ${balancerTimeoutMs / 1000} s`);
  } finally {
    await kube.core.deleteNamespacedService({ name, namespace });
  }
}

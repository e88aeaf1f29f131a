// SPDX-License-Identifier: Apache-2.0
import type { V1Lease, V1Node, V1Pod, V1Service } from '@kubernetes/client-node';
import { expect } from 'chai';
import { toDocuments } from '../cli/policy-documents.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { componentFindings } from './component-findings.ts';
import { dnsConfigFindings } from './dns-config-findings.ts';
import type { Finding } from './finding.ts';
import { podFindings } from './pod-findings.ts';
import { policyFindings } from './policy-findings.ts';
import { serviceFindings } from './service-findings.ts';

const now = Date.parse('2026-01-01T00:01:00Z');

/** Typed objects as the API would send them: only what is looked at. */
const pod = (name: string, change: object = {}, spec: object = {}, status: object = {}): V1Pod =>
  ({
    metadata: { name, namespace: 'shop', uid: name, labels: { app: 'api' }, ...change },
    spec: {
      nodeName: 'n1',
      dnsPolicy: 'ClusterFirst',
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }] }],
      ...spec,
    },
    status: { phase: 'Running', podIP: '10.244.0.5', podIPs: [{ ip: '10.244.0.5' }], ...status },
  }) as unknown as V1Pod;
const dnsPod = pod(
  'coredns',
  { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
  { dnsPolicy: 'Default' },
  { podIP: '10.244.0.2', podIPs: [{ ip: '10.244.0.2' }] },
);
const service = (name: string, spec: object, namespace = 'shop'): V1Service =>
  ({
    metadata: { name, namespace },
    spec: { clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7'], ...spec },
  }) as V1Service;
const kubeDns = service(
  'kube-dns',
  { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'], selector: { 'k8s-app': 'kube-dns' } },
  'kube-system',
);
const node = (name: string, status = 'True', message = ''): V1Node =>
  ({
    metadata: { name },
    spec: { podCIDRs: ['10.244.0.0/24'] },
    status: { conditions: [{ type: 'Ready', status, message, reason: 'KubeletNotReady' }] },
  }) as V1Node;
const lease = (namespace: string, name: string, secondsAgo: number): V1Lease =>
  ({
    metadata: { namespace, name },
    spec: { renewTime: new Date(now - secondsAgo * 1000).toISOString() },
  }) as unknown as V1Lease;
const slice = (
  name: string,
  addresses: string[],
  change: object = {},
  ready = true,
): ClusterObjects['endpointSlices'][number] => ({
  metadata: {
    name,
    namespace: 'shop',
    labels: {
      'kubernetes.io/service-name': 'api',
      'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
      ...change,
    },
  },
  addressType: 'IPv4',
  endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready } })),
});

function cluster(change: Partial<ClusterObjects>, documents: object[] = []): ClusterObjects {
  const none = {
    nodes: [],
    pods: [],
    services: [],
    endpointSlices: [],
    leases: [],
    csiNodes: [],
    configMaps: [],
    events: [],
  };
  return {
    ...none,
    ...change,
    documents: documents.flatMap((one) => toDocuments(one as Record<string, unknown>, 'test')),
  };
}

const brief = ({ reason, component, node, objects }: Finding) => ({
  reason,
  component,
  ...(node && { node }),
  objects,
});

describe('what objects show of a broken cluster', () => {
  it('nothing, where all is well', () => {
    const objects = cluster({
      nodes: [node('n1')],
      pods: [pod('api'), dnsPod],
      services: [service('api', { selector: { app: 'api' } }), service('outside', {})],
      endpointSlices: [slice('api-1', ['10.244.0.5'])],
      leases: [lease('kube-system', 'kube-scheduler', 2), lease('kube-node-lease', 'n1', 11)],
    });
    const found = [
      ...serviceFindings(objects),
      ...podFindings(objects.pods, []),
      ...componentFindings(objects, now),
      ...dnsConfigFindings({ ...objects, services: [...objects.services, kubeDns] }),
      ...policyFindings(objects),
    ];
    expect(found).to.deep.equal([]);
  });

  it('a selector that fits nobody, with what is there; pods that are not ready; addresses that no pod has', () => {
    const typo = cluster({ pods: [pod('api')], services: [service('api', { selector: { app: 'apii' } })] });
    expect(serviceFindings(typo).map(brief)).to.deep.equal([
      { reason: 'no-endpoints', component: 'service', objects: ['Service shop/api'] },
    ]);
    expect(serviceFindings(typo)[0]?.evidence).to.include('pods of the namespace have app=api');
    const unready = cluster({
      pods: [pod('api')],
      services: [service('api', { selector: { app: 'api' } })],
      endpointSlices: [slice('api-1', ['10.244.0.5'], {}, false)],
    });
    expect(serviceFindings(unready).map(brief)).to.deep.equal([
      { reason: 'not-ready', component: 'application', node: 'n1', objects: ['Service shop/api', 'Pod shop/api'] },
    ]);
    const stray = cluster({
      nodes: [node('n1')],
      pods: [pod('api')],
      services: [service('api', { selector: { app: 'api' } })],
      endpointSlices: [
        slice('api-1', ['10.244.0.5']),
        slice('api-old', ['10.99.0.7'], { 'endpointslice.kubernetes.io/managed-by': undefined }),
      ],
    });
    expect(serviceFindings(stray).map(brief)).to.deep.equal([
      { reason: 'stale-endpoint', component: 'service', objects: ['EndpointSlice shop/api-old', 'Service shop/api'] },
    ]);
  });

  it('programs that end and images that are not there, once for all pods of an owner', () => {
    const owned = { ownerReferences: [{ uid: 'rs' }] };
    const crashing = { containerStatuses: [{ name: 'c', restartCount: 1, state: { terminated: { exitCode: 1 } } }] };
    const pulling = {
      containerStatuses: [{ name: 'c', image: 'x', restartCount: 0, state: { waiting: { reason: 'ErrImagePull' } } }],
    };
    expect(podFindings([pod('a', owned, {}, crashing), pod('b', owned, {}, crashing)], []).map(brief)).to.deep.equal([
      { reason: 'crash-loop', component: 'application', node: 'n1', objects: ['Pod shop/a', 'Pod shop/b'] },
    ]);
    expect(podFindings([pod('a', {}, {}, pulling)], [])[0]).to.include({ reason: 'image' });
  });

  it('components that have fallen silent', () => {
    const objects = cluster({
      nodes: [
        node('n1', 'Unknown'),
        node('n2', 'False', 'container runtime network not ready: cni config uninitialized'),
      ],
      leases: [
        lease('kube-system', 'kube-scheduler', 12),
        lease('kube-node-lease', 'n1', 60),
        lease('kube-node-lease', 'n2', 1),
      ],
      csiNodes: [
        { metadata: { name: 'n1' }, spec: { drivers: [{ name: 'd', nodeID: '' }] } },
        { metadata: { name: 'n2' }, spec: { drivers: [] } },
      ],
    });
    expect(componentFindings(objects, now).map(brief)).to.deep.equal([
      { reason: 'component-down', component: 'kube-scheduler', objects: ['Lease kube-system/kube-scheduler'] },
      { reason: 'component-down', component: 'kubelet', node: 'n1', objects: ['Node n1'] },
      { reason: 'cni', component: 'network', node: 'n2', objects: ['Node n2'] },
      { reason: 'component-down', component: 'storage', node: 'n2', objects: ['CSINode n2', 'CSIDriver d'] },
    ]);
  });

  it('pods that ask for names in a way that cannot work, and a DNS Service that is gone', () => {
    const asks = (spec: object) =>
      dnsConfigFindings(cluster({ pods: [pod('a', {}, spec), dnsPod], services: [kubeDns] })).map(
        ({ summary }) => summary,
      );
    expect(asks({})).to.deep.equal([]);
    expect(asks({ dnsPolicy: 'None', dnsConfig: { nameservers: ['10.96.0.99'] } })[0]).to.match(
      /name server 10.96.0.99/,
    );
    expect(asks({ dnsPolicy: 'None', dnsConfig: { nameservers: ['8.8.8.8'] } })).to.deep.equal([]);
    expect(asks({ dnsConfig: { options: [{ name: 'ndots', value: '1' }] } })[0]).to.match(/ndots 1/);
    expect(dnsConfigFindings(cluster({ pods: [dnsPod] })).map(brief)).to.deep.equal([
      { reason: 'missing-object', component: 'dns', objects: ['Service kube-system/kube-dns'] },
    ]);
  });

  it('policies that keep pods from DNS, from either side, and those that name a port nobody has', () => {
    const named = (object: V1Pod): object => ({ apiVersion: 'v1', kind: 'Pod', ...object });
    const policy = (name: string, namespace: string, spec: object): object => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name, namespace },
      spec,
    });
    const found = (one: object) => policyFindings(cluster({}, [named(pod('a')), named(dnsPod), one])).map(brief);
    expect(found(policy('ok', 'shop', { podSelector: {}, policyTypes: ['Ingress'] }))).to.deep.equal([]);
    expect(
      found(
        policy('lock', 'shop', { podSelector: {}, policyTypes: ['Egress'], egress: [{ to: [{ podSelector: {} }] }] }),
      ),
    ).to.deep.equal([{ reason: 'policy', component: 'network-policy', objects: ['NetworkPolicy shop/lock'] }]);
    expect(
      found(
        policy('tcp', 'kube-system', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ ports: [{ port: 53, protocol: 'TCP' }] }],
        }),
      ),
    ).to.deep.equal([{ reason: 'policy', component: 'network-policy', objects: ['NetworkPolicy kube-system/tcp'] }]);
    expect(
      found(
        policy('port', 'shop', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ ports: [{ port: 'htp', protocol: 'TCP' }] }],
        }),
      ),
    ).to.deep.equal([{ reason: 'policy', component: 'network-policy', objects: ['NetworkPolicy shop/port'] }]);
  });
});

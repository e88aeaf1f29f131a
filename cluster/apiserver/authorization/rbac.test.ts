// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { PolicyRule } from '../../machinery/api-types.ts';
import type { KubeObject } from '../resources/definition.ts';
import { createNodeAuthorizer } from './node-authorizer.ts';
import { createRbac } from './rbac.ts';
import { uncovered } from './rbac-rules.ts';

const group = 'rbac.authorization.k8s.io';

function source(objects: Record<string, KubeObject[]>) {
  return {
    stamp: () => 'x',
    list: (resource: string) => objects[resource] ?? [],
    get: (resource: string, namespace: string | undefined, name: string) =>
      objects[resource]?.find((one) => one.metadata.name === name && one.metadata.namespace === namespace),
  };
}

function role(name: string, rules: PolicyRule[], more: object = {}): KubeObject {
  return { apiVersion: `${group}/v1`, kind: 'ClusterRole', metadata: { name, ...more }, rules };
}

const reading = { verbs: ['get', 'list'], apiGroups: [''], resources: ['pods', 'pods/log'] };
const one = { verbs: ['*'], apiGroups: ['apps'], resources: ['*/scale'], resourceNames: ['web'] };
const health = { verbs: ['get'], nonResourceURLs: ['/healthz/*'] };

describe('RBAC', () => {
  const bound = {
    metadata: { name: 'b', namespace: 'a' },
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'reader' },
    subjects: [
      { kind: 'User', name: 'joe' },
      { kind: 'ServiceAccount', name: 'sa', namespace: 'z' },
    ],
  };
  const everywhere = {
    metadata: { name: 'c' },
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'sum' },
    subjects: [{ kind: 'Group', name: 'ops' }],
  };
  const rbac = createRbac(
    source({
      [`clusterroles.${group}`]: [
        role('reader', [reading]),
        role('part', [one, health], { labels: { sum: 'yes' } }),
        { ...role('sum', []), aggregationRule: { clusterRoleSelectors: [{ matchLabels: { sum: 'yes' } }] } },
      ],
      [`rolebindings.${group}`]: [bound as unknown as KubeObject],
      [`clusterrolebindings.${group}`]: [everywhere as unknown as KubeObject],
    }),
  );
  const joe = { name: 'joe', groups: [] };
  const ops = { name: 'ann', groups: ['ops'] };

  it('grants in the namespace of the binding only', () => {
    const get = { user: joe, verb: 'get', group: '', resource: 'pods', name: 'x' };
    expect(rbac.allows({ ...get, namespace: 'a' })).to.equal(true);
    expect(rbac.allows({ ...get, namespace: 'b' })).to.equal(false);
    expect(rbac.allows(get)).to.equal(false);
    expect(rbac.allows({ ...get, namespace: 'a', subresource: 'log' })).to.equal(true);
    expect(rbac.allows({ ...get, namespace: 'a', subresource: 'exec' })).to.equal(false);
    expect(rbac.allows({ ...get, namespace: 'a', user: { name: 'system:serviceaccount:z:sa', groups: [] } })).to.equal(
      true,
    );
  });

  it('sums aggregated roles up, and minds names and paths', () => {
    const scale = { user: ops, verb: 'update', group: 'apps', resource: 'deployments', subresource: 'scale' };
    expect(rbac.allows({ ...scale, namespace: 'q', name: 'web' })).to.equal(true);
    expect(rbac.allows({ ...scale, namespace: 'q', name: 'db' })).to.equal(false);
    expect(rbac.allows({ user: ops, verb: 'get', path: '/healthz/etcd' })).to.equal(true);
    expect(rbac.allows({ user: ops, verb: 'get', path: '/metrics' })).to.equal(false);
  });

  it('finds the rights that somebody would hand out without having them', () => {
    expect(uncovered([reading], [reading])).to.deep.equal([]);
    expect(uncovered([{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }], [reading])).to.deep.equal([]);
    expect(uncovered([{ ...reading, verbs: ['get', 'delete'] }], [reading])).to.deep.equal([
      { verbs: ['delete'], apiGroups: [''], resources: ['pods'] },
      { verbs: ['delete'], apiGroups: [''], resources: ['pods/log'] },
    ]);
    expect(uncovered([{ ...one, resourceNames: [] }], [one])).to.have.length(1);
    expect(uncovered([health], [{ verbs: ['*'], nonResourceURLs: ['*'] }])).to.deep.equal([]);
  });
});

describe('the node authorizer', () => {
  const pod: KubeObject = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'a' },
    spec: {
      nodeName: 'n1',
      serviceAccountName: 'sa',
      containers: [{ name: 'c', env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'env', key: 'k' } } }] }],
      volumes: [{ name: 'v', secret: { secretName: 'volume' } }],
    },
  };
  const nodes = createNodeAuthorizer({ get: () => undefined }, (node) => (node === 'n1' ? [pod] : []));
  const kubelet = (node: string) => ({ name: `system:node:${node}`, groups: ['system:nodes'] });
  const secret = { verb: 'get', group: '', resource: 'secrets', namespace: 'a' };

  it('shows a kubelet the secrets of its own pods', () => {
    for (const name of ['env', 'volume']) {
      expect(nodes.decide({ ...secret, user: kubelet('n1'), name })?.allowed).to.equal(true);
      expect(nodes.decide({ ...secret, user: kubelet('n2'), name })?.allowed).to.equal(false);
    }
    expect(nodes.decide({ ...secret, user: kubelet('n1'), name: 'other' })?.allowed).to.equal(false);
    expect(nodes.decide({ ...secret, user: kubelet('n1'), verb: 'list' })?.allowed).to.equal(false);
    expect(nodes.decide({ ...secret, user: kubelet('n1'), verb: 'delete', name: 'env' })?.allowed).to.equal(false);
  });

  it('leaves others alone, and lets kubelets do their work', () => {
    expect(nodes.decide({ ...secret, user: { name: 'joe', groups: [] }, name: 'env' })).to.equal(undefined);
    const token = { verb: 'create', group: '', resource: 'serviceaccounts', subresource: 'token', namespace: 'a' };
    expect(nodes.decide({ ...token, user: kubelet('n1'), name: 'sa' })?.allowed).to.equal(true);
    expect(nodes.decide({ ...token, user: kubelet('n1'), name: 'other' })?.allowed).to.equal(false);
    const lease = { verb: 'update', group: 'coordination.k8s.io', resource: 'leases', namespace: 'kube-node-lease' };
    expect(nodes.decide({ ...lease, user: kubelet('n1'), name: 'n1' })?.allowed).to.equal(true);
    expect(nodes.decide({ ...lease, user: kubelet('n1'), name: 'n2' })?.allowed).to.equal(false);
    expect(nodes.decide({ user: kubelet('n1'), verb: 'list', group: '', resource: 'pods' })?.allowed).to.equal(true);
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { parse } from 'yaml';

import { createAuthority, issue } from './certificates.ts';
import { kubeconfig } from './kubeconfig.ts';
import { apiServerHosts, kubeconfigFiles, leafFiles } from './pki.ts';
import type { ClusterState } from './state.ts';

describe('boot/certificates', () => {
  it('issues chains that another implementation verifies', async () => {
    const authority = await createAuthority('kubernetes');
    const pair = await issue(authority, {
      commonName: 'kube-apiserver',
      organization: 'system:masters',
      hosts: ['10.96.0.1', 'localhost', '::1', 'kubernetes.default.svc'],
      usages: ['server', 'client'],
    });
    const root = new X509Certificate(authority.certificate);
    const leaf = new X509Certificate(pair.certificate);
    expect(root.ca).to.equal(true);
    expect(leaf.ca).to.equal(false);
    expect(leaf.verify(root.publicKey)).to.equal(true);
    expect(leaf.checkIssued(root)).to.equal(true);
    expect(leaf.checkPrivateKey(createPrivateKey(pair.key))).to.equal(true);
    expect(leaf.subject).to.equal('O=system:masters\nCN=kube-apiserver');
    expect(leaf.checkIP('10.96.0.1')).to.equal('10.96.0.1');
    expect(leaf.checkHost('kubernetes.default.svc')).to.equal('kubernetes.default.svc');
    expect(leaf.checkHost('example.com')).to.equal(undefined);
    expect(leaf.keyUsage).to.have.members(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(leaf.validFromDate.getTime()).to.be.lessThan(Date.now());
  });

  it('embeds everything in a kubeconfig', async () => {
    const text = kubeconfig({
      cluster: 'plumb',
      server: 'https://172.28.0.10:6443',
      authority: 'CA',
      userName: 'admin',
      user: { certificate: 'CERT', key: 'KEY' },
    });
    const config = parse(text) as { 'current-context': string; users: { user: Record<string, string> }[] };
    expect(config['current-context']).to.equal('admin@plumb');
    expect(config.users[0]?.user['client-key-data']).to.equal(Buffer.from('KEY').toString('base64'));
  });

  it('gives every node its own identity, and the keys of authorities to none', () => {
    const node = (name: string, role: 'control-plane' | 'worker', address: string) => ({
      name,
      role,
      address,
      addresses: [address, 'fd00:172:28:0::10'],
      directory: `/nodes/${name}`,
    });
    const state: ClusterState = {
      format: 1,
      name: 'c',
      createdAt: '',
      prefix: '172.28.0',
      options: {
        workers: 1,
        kubernetesVersion: 'v1.36.0',
        etcdEndpoints: '',
        etcdMembers: 1,
        proxyMode: 'nftables',
        network: 'routed',
        ipFamily: 'dual',
        loadBalancerRange: '',
        ingress: false,
        components: {},
      },
      nodes: [node('c-control-plane', 'control-plane', '172.28.0.10'), node('c-worker', 'worker', '172.28.0.11')],
      ready: false,
    };
    expect(apiServerHosts(state.nodes[0] ?? node('', 'worker', ''), ['10.96.0.1', 'fd00:10:96::1'])).to.include.members(
      ['172.28.0.10', 'fd00:172:28:0::10', 'fd00:10:96::1', '10.96.0.1', 'localhost'],
    );
    const kubelets = kubeconfigFiles(state).filter((file) => file.path.endsWith('kubelet.conf'));
    expect(kubelets.map((file) => file.commonName)).to.deep.equal([
      'system:node:c-control-plane',
      'system:node:c-worker',
    ]);
    const onWorker = leafFiles(state).filter((file) => file.stem.startsWith('/nodes/c-worker/'));
    expect(onWorker.map((file) => file.stem.slice('/nodes/c-worker/'.length))).to.deep.equal([
      'kubelet/pki/kubelet',
      'kubernetes/pki/etcd/server',
      'kubernetes/pki/etcd/peer',
    ]);
  });
});

// SPDX-License-Identifier: Apache-2.0
// Who gets which certificate and kubeconfig: the identities of a cluster as data, and the files that they become.

import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

import { createAuthority, createTokenKeys, issue, type Authority, type KeyPair } from './certificates.ts';
import { kubeconfig } from './kubeconfig.ts';
import { apiServiceAddress, clusterDomain, clusterPaths } from './layout.ts';
import { apiServerUrl, controlPlane, type ClusterState, type NodeState } from './state.ts';

interface Authorities {
  readonly cluster: Authority;
  readonly frontProxy: Authority;
  readonly etcd: Authority;
}

type Files = Map<string, string>;

/** Writes every certificate, key and kubeconfig of the cluster; paths as kubeadm has them, below each node's own /etc. */
export async function writePki(state: ClusterState): Promise<void> {
  const [cluster, frontProxy, etcd] = await Promise.all(
    ['kubernetes', 'front-proxy-ca', 'etcd-ca'].map(createAuthority),
  );
  if (cluster === undefined || frontProxy === undefined || etcd === undefined)
    throw new Error('an authority is missing');
  const authorities = { cluster, frontProxy, etcd };
  const files: Files = new Map();
  await Promise.all([
    addControlPlane(files, state, authorities),
    ...state.nodes.map((node) => addNode(files, { state, node, authorities })),
  ]);
  for (const [path, content] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { mode: path.endsWith('.crt') || path.endsWith('.pub') ? 0o644 : 0o600 });
  }
}

async function addControlPlane(files: Files, state: ClusterState, authorities: Authorities): Promise<void> {
  const node = controlPlane(state);
  const kubernetes = join(node.directory, 'kubernetes');
  const pki = join(kubernetes, 'pki');
  const { cluster, frontProxy } = authorities;
  add(files, join(pki, 'ca'), cluster);
  add(files, join(pki, 'front-proxy-ca'), frontProxy);
  const tokenKeys = createTokenKeys();
  files.set(join(pki, 'sa.key'), tokenKeys.privateKey);
  files.set(join(pki, 'sa.pub'), tokenKeys.publicKey);
  const leaf = async (authority: Authority, name: string, request: Parameters<typeof issue>[1]): Promise<void> =>
    add(files, join(pki, name), await issue(authority, request));
  const config = async (path: string, commonName: string, organization?: string): Promise<void> => {
    const user = await issue(cluster, {
      commonName,
      usages: ['client'],
      ...(organization === undefined ? {} : { organization }),
    });
    files.set(
      path,
      kubeconfig({
        cluster: state.name,
        server: apiServerUrl(state),
        authority: cluster.certificate,
        userName: commonName,
        user,
      }),
    );
  };
  const masters = 'system:masters';
  await Promise.all([
    leaf(cluster, 'apiserver', { commonName: 'kube-apiserver', hosts: apiServerHosts(node), usages: ['server'] }),
    leaf(cluster, 'apiserver-kubelet-client', {
      commonName: 'kube-apiserver-kubelet-client',
      organization: masters,
      usages: ['client'],
    }),
    leaf(frontProxy, 'front-proxy-client', { commonName: 'front-proxy-client', usages: ['client'] }),
    config(clusterPaths(state.name).kubeconfig, 'kubernetes-admin', masters),
    config(join(kubernetes, 'admin.conf'), 'kubernetes-admin', masters),
    config(join(kubernetes, 'controller-manager.conf'), 'system:kube-controller-manager'),
    config(join(kubernetes, 'scheduler.conf'), 'system:kube-scheduler'),
  ]);
}

async function addNode(
  files: Files,
  context: { state: ClusterState; node: NodeState; authorities: Authorities },
): Promise<void> {
  const { state, node, authorities } = context;
  const kubernetes = join(node.directory, 'kubernetes');
  const { cluster, etcd } = authorities;
  const config = async (file: string, commonName: string, organization?: string): Promise<void> => {
    const user = await issue(cluster, {
      commonName,
      usages: ['client'],
      ...(organization === undefined ? {} : { organization }),
    });
    files.set(
      join(kubernetes, file),
      kubeconfig({
        cluster: state.name,
        server: apiServerUrl(state),
        authority: cluster.certificate,
        userName: commonName,
        user,
      }),
    );
  };
  const names = [node.name, node.address];
  const etcdHosts = [node.name, 'localhost', node.address, '127.0.0.1', '::1'];
  files.set(join(kubernetes, 'pki', 'ca.crt'), cluster.certificate);
  add(files, join(kubernetes, 'pki', 'etcd', 'ca'), { certificate: etcd.certificate });
  const etcdLeaf = async (name: string, request: Parameters<typeof issue>[1]): Promise<void> =>
    add(files, join(kubernetes, 'pki', name), await issue(etcd, request));
  await Promise.all([
    config('kubelet.conf', `system:node:${node.name}`, 'system:nodes'),
    config('kube-proxy.conf', 'system:kube-proxy'),
    config('network-agent.conf', 'system:plumb-network', 'system:plumb-network'),
    issue(cluster, {
      commonName: `system:node:${node.name}`,
      organization: 'system:nodes',
      hosts: names,
      usages: ['server'],
    }).then((pair) => add(files, join(node.directory, 'kubelet', 'pki', 'kubelet'), pair)),
    etcdLeaf('etcd/server', { commonName: node.name, hosts: etcdHosts, usages: ['server', 'client'] }),
    etcdLeaf('etcd/peer', { commonName: node.name, hosts: etcdHosts, usages: ['server', 'client'] }),
    etcdLeaf('apiserver-etcd-client', { commonName: 'kube-apiserver-etcd-client', usages: ['client'] }),
  ]);
}

/** Every name and address by which the API server is reached, from pods, nodes, the host and the machine next door. */
export function apiServerHosts(node: NodeState): string[] {
  const service = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${clusterDomain}`,
  ];
  return [...service, node.name, 'localhost', hostname(), node.address, apiServiceAddress, '127.0.0.1', '::1'];
}

function add(files: Files, stem: string, pair: Partial<KeyPair>): void {
  if (pair.certificate !== undefined) files.set(`${stem}.crt`, pair.certificate);
  if (pair.key !== undefined) files.set(`${stem}.key`, pair.key);
}

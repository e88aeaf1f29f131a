// SPDX-License-Identifier: Apache-2.0
// Who gets which certificate and kubeconfig: the identities of a cluster as data, and the files that they become. Paths
// are kubeadm's, below each node's own /etc/kubernetes and /var/lib/kubelet.

import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

import { createAuthority, createTokenKeys, issue, type Authority, type LeafRequest } from './certificates.ts';
import { kubeconfig } from './kubeconfig.ts';
import { ipPlan } from './ip-plan.ts';
import { clusterDomain, clusterPaths } from './layout.ts';
import { apiServerUrl, controlPlane, type ClusterState, type NodeState } from './state.ts';

type AuthorityName = 'cluster' | 'frontProxy' | 'etcd';

/** Written as <stem>.crt and <stem>.key. */
export interface LeafFile {
  readonly stem: string;
  readonly authority: AuthorityName;
  readonly request: LeafRequest;
}

export interface KubeconfigFile {
  readonly path: string;
  readonly commonName: string;
  readonly organization?: string;
}

const masters = 'system:masters';

/** Issues and writes everything; a file that is there is replaced. */
export async function writePki(state: ClusterState): Promise<void> {
  const authorities: Record<AuthorityName, Authority> = {
    cluster: await createAuthority('kubernetes'),
    frontProxy: await createAuthority('front-proxy-ca'),
    etcd: await createAuthority('etcd-ca'),
  };
  const files = authorityFiles(state, authorities);
  await Promise.all([
    ...leafFiles(state).map(async ({ stem, authority, request }) => {
      const pair = await issue(authorities[authority], request);
      files.set(`${stem}.crt`, pair.certificate).set(`${stem}.key`, pair.key);
    }),
    ...kubeconfigFiles(state).map(async ({ path, commonName, organization }) => {
      const subject = organization === undefined ? { commonName } : { commonName, organization };
      const user = await issue(authorities.cluster, { ...subject, usages: ['client'] });
      const authority = authorities.cluster.certificate;
      files.set(
        path,
        kubeconfig({ cluster: state.name, server: apiServerUrl(state), authority, userName: commonName, user }),
      );
    }),
  ]);
  for (const [path, content] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { mode: /\.(crt|pub)$/.test(path) ? 0o644 : 0o600 });
  }
}

export function leafFiles(state: ClusterState): LeafFile[] {
  const first = controlPlane(state);
  const pki = pkiDirectory(first);
  const leaf = (stem: string, authority: AuthorityName, request: LeafRequest): LeafFile => ({
    stem,
    authority,
    request,
  });
  return [
    leaf(join(pki, 'apiserver'), 'cluster', {
      commonName: 'kube-apiserver',
      hosts: apiServerHosts(first, ipPlan(state.options.ipFamily).apiServiceAddresses),
      usages: ['server'],
    }),
    leaf(join(pki, 'apiserver-kubelet-client'), 'cluster', {
      commonName: 'kube-apiserver-kubelet-client',
      organization: masters,
      usages: ['client'],
    }),
    leaf(join(pki, 'apiserver-etcd-client'), 'etcd', { commonName: 'kube-apiserver-etcd-client', usages: ['client'] }),
    leaf(join(pki, 'front-proxy-client'), 'frontProxy', { commonName: 'front-proxy-client', usages: ['client'] }),
    ...state.nodes.flatMap((node) => {
      const etcd: LeafRequest = {
        commonName: node.name,
        hosts: [node.name, 'localhost', ...node.addresses, '127.0.0.1', '::1'],
        usages: ['server', 'client'],
      };
      return [
        leaf(join(node.directory, 'kubelet', 'pki', 'kubelet'), 'cluster', {
          commonName: `system:node:${node.name}`,
          organization: 'system:nodes',
          hosts: [node.name, ...node.addresses],
          usages: ['server'],
        }),
        leaf(join(pkiDirectory(node), 'etcd', 'server'), 'etcd', etcd),
        leaf(join(pkiDirectory(node), 'etcd', 'peer'), 'etcd', etcd),
      ];
    }),
  ];
}

export function kubeconfigFiles(state: ClusterState): KubeconfigFile[] {
  const kubernetes = join(controlPlane(state).directory, 'kubernetes');
  return [
    { path: clusterPaths(state.name).kubeconfig, commonName: 'kubernetes-admin', organization: masters },
    { path: join(kubernetes, 'admin.conf'), commonName: 'kubernetes-admin', organization: masters },
    { path: join(kubernetes, 'controller-manager.conf'), commonName: 'system:kube-controller-manager' },
    { path: join(kubernetes, 'scheduler.conf'), commonName: 'system:kube-scheduler' },
    ...state.nodes.flatMap((node) => [
      {
        path: join(node.directory, 'kubernetes', 'kubelet.conf'),
        commonName: `system:node:${node.name}`,
        organization: 'system:nodes',
      },
      { path: join(node.directory, 'kubernetes', 'kube-proxy.conf'), commonName: 'system:kube-proxy' },
      { path: join(node.directory, 'kubernetes', 'network-agent.conf'), commonName: 'system:plumb-network' },
    ]),
  ];
}

/** Every name and address by which the API server is reached, from pods, nodes, the host and the machine next door. */
export function apiServerHosts(node: NodeState, serviceAddresses: readonly string[]): string[] {
  const service = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${clusterDomain}`,
  ];
  return [...service, node.name, 'localhost', hostname(), ...node.addresses, ...serviceAddresses, '127.0.0.1', '::1'];
}

/** Authorities' keys stay on the control plane; every node trusts the cluster's and etcd's. */
function authorityFiles(state: ClusterState, authorities: Record<AuthorityName, Authority>): Map<string, string> {
  const pki = pkiDirectory(controlPlane(state));
  const tokenKeys = createTokenKeys();
  const files = new Map<string, string>([
    [join(pki, 'ca.key'), authorities.cluster.key],
    [join(pki, 'etcd', 'ca.key'), authorities.etcd.key],
    [join(pki, 'front-proxy-ca.crt'), authorities.frontProxy.certificate],
    [join(pki, 'front-proxy-ca.key'), authorities.frontProxy.key],
    [join(pki, 'sa.key'), tokenKeys.privateKey],
    [join(pki, 'sa.pub'), tokenKeys.publicKey],
  ]);
  for (const node of state.nodes) {
    files.set(join(pkiDirectory(node), 'ca.crt'), authorities.cluster.certificate);
    files.set(join(pkiDirectory(node), 'etcd', 'ca.crt'), authorities.etcd.certificate);
  }
  return files;
}

function pkiDirectory(node: NodeState): string {
  return join(node.directory, 'kubernetes', 'pki');
}

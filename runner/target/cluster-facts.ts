// SPDX-License-Identifier: Apache-2.0
/** Reads the identity and environment of a cluster, and sorts its nodes. Throws what the clients throw. */
import type { V1Node } from '@kubernetes/client-node';
import type { ClusterFacts } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import type { NodeFacts } from '../results/events.ts';

export interface ClusterIdentity {
  readonly uid: string;
  readonly serverVersion: string;
  readonly platform: string;
}

export async function readIdentity(kube: KubeClients): Promise<ClusterIdentity> {
  const version = (await kube.request({ path: '/version' })).json() as { gitVersion?: string; platform?: string };
  const system = await kube.request({ path: '/api/v1/namespaces/kube-system' });
  const uid = system.status === 200 ? (system.json() as { metadata: { uid: string } }).metadata.uid : '';
  return { uid, serverVersion: version.gitVersion ?? 'unknown', platform: version.platform ?? 'unknown' };
}

export async function readFacts(kube: KubeClients, serverVersion: string): Promise<ClusterFacts> {
  const { items } = await kube.core.listNode();
  const nodes = items.toSorted((a, b) => nameOf(a).localeCompare(nameOf(b), 'en'));
  const dns = await kube.request({ path: '/api/v1/namespaces/kube-system/services/kube-dns' });
  const dnsServiceIp = dns.status === 200 ? (dns.json() as { spec: { clusterIP?: string } }).spec.clusterIP : undefined;
  return {
    serverVersion,
    minor: Number(/^v\d+\.(\d+)/.exec(serverVersion)?.[1] ?? 0),
    nodes,
    workers: nodes.filter((node) => isReady(node) && takesOrdinaryPods(node)).map(nameOf),
    controlPlanes: nodes.filter(isControlPlane).map(nameOf),
    dnsServiceIp,
    clusterDomain: 'cluster.local',
  };
}

export function nodeFacts(node: V1Node): NodeFacts {
  const info = node.status?.nodeInfo;
  return {
    name: nameOf(node),
    ready: isReady(node),
    roles: Object.keys(node.metadata?.labels ?? {})
      .filter((label) => label.startsWith(rolePrefix))
      .map((label) => label.slice(rolePrefix.length)),
    kubeletVersion: info?.kubeletVersion ?? '',
    containerRuntime: info?.containerRuntimeVersion ?? '',
    osImage: info?.osImage ?? '',
    kernel: info?.kernelVersion ?? '',
    architecture: info?.architecture ?? '',
    internalIps: (node.status?.addresses ?? []).filter((one) => one.type === 'InternalIP').map((one) => one.address),
    cpu: node.status?.capacity?.['cpu'] ?? '',
    memory: node.status?.capacity?.['memory'] ?? '',
  };
}

const rolePrefix = 'node-role.kubernetes.io/';

function nameOf(node: V1Node): string {
  return node.metadata?.name ?? '';
}

export function isReady(node: V1Node): boolean {
  return (node.status?.conditions ?? []).some((condition) => condition.type === 'Ready' && condition.status === 'True');
}

function takesOrdinaryPods(node: V1Node): boolean {
  const repels = (node.spec?.taints ?? []).some(
    (taint) => taint.effect === 'NoSchedule' || taint.effect === 'NoExecute',
  );
  return node.spec?.unschedulable !== true && !repels;
}

function isControlPlane(node: V1Node): boolean {
  return node.metadata?.labels?.[`${rolePrefix}control-plane`] !== undefined;
}

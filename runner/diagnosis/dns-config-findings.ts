// SPDX-License-Identifier: Apache-2.0
/** Name resolution as it was configured: the Service that everybody asks, and pods that were told to ask otherwise. Pure. */
import { isIP } from 'node:net';
import type { V1Pod, V1Service } from '@kubernetes/client-node';
import type { ClusterObjects } from './cluster-objects.ts';
import { objectName, type Finding } from './finding.ts';

/** Below it, the search list is not tried for `name.namespace`, nor for `name.namespace.svc`. */
const ndotsNeeded = 2;

export function dnsConfigFindings({ pods, services }: ClusterObjects): Finding[] {
  const dns = services.find(({ metadata }) => metadata?.namespace === 'kube-system' && metadata.name === 'kube-dns');
  const missing: Finding[] =
    dns !== undefined || !hasDnsPods(pods)
      ? []
      : [
          {
            reason: 'missing-object',
            component: 'dns',
            objects: ['Service kube-system/kube-dns'],
            summary: 'the Service kube-system/kube-dns, which every pod asks for names, is gone',
            evidence: [
              'pods with the label k8s-app=kube-dns run in kube-system, and no Service kube-dns leads to them',
            ],
            next: 'Create it again with the ClusterIP that the kubelets name (clusterDNS in their configuration).',
          },
        ];
  return [...missing, ...byOwner(pods, (pod) => oddConfig(pod, services))];
}

function hasDnsPods(pods: readonly V1Pod[]): boolean {
  return pods.some(
    ({ metadata }) => metadata?.namespace === 'kube-system' && metadata.labels?.['k8s-app'] === 'kube-dns',
  );
}

function oddConfig(pod: V1Pod, services: readonly V1Service[]): Finding | undefined {
  const { dnsPolicy, dnsConfig } = pod.spec ?? {};
  const name = objectName('Pod', pod.metadata);
  const base = {
    reason: 'name-resolution',
    component: 'dns' as const,
    objects: [name],
    ...(pod.spec?.nodeName === undefined ? {} : { node: pod.spec.nodeName }),
  };
  const dead = (dnsConfig?.nameservers ?? []).filter((address) => isDeadServiceAddress(address, services));
  if (dnsPolicy === 'None' && dead.length > 0) {
    return {
      ...base,
      summary: `${name} asks the name server ${dead.join(', ')}, an address of the Service network that no Service has`,
      evidence: [`dnsPolicy: None, dnsConfig.nameservers: ${(dnsConfig?.nameservers ?? []).join(', ')}`],
      next: 'Name the ClusterIP of kube-system/kube-dns, or leave dnsPolicy at ClusterFirst.',
    };
  }
  const ndots = dnsConfig?.options?.find((option) => option.name === 'ndots')?.value;
  const usesSearchList =
    dnsPolicy === 'ClusterFirst' || (dnsConfig?.searches ?? []).some((one) => one.startsWith('svc.'));
  if (ndots !== undefined && Number(ndots) < ndotsNeeded && usesSearchList && dnsPolicy !== 'Default') {
    return {
      ...base,
      summary: `${name} has ndots ${ndots}: names such as service.namespace are taken for complete and do not resolve`,
      evidence: [`dnsConfig.options: ndots ${ndots}`],
      next: 'Use ndots 2 or more (the default is 5), or complete names with a dot at their end.',
    };
  }
  return undefined;
}

/** In the /16 or /112 of known ClusterIPs, yet not one of them: the Service network itself is nowhere to be read. */
function isDeadServiceAddress(address: string, services: readonly V1Service[]): boolean {
  const ips = services.flatMap(({ spec }) => spec?.clusterIPs ?? []).filter((ip) => isIP(ip) === isIP(address));
  const network = (ip: string): string =>
    isIP(ip) === 6 ? ip.slice(0, ip.lastIndexOf(':')) : ip.split('.').slice(0, 2).join('.');
  return !ips.includes(address) && ips.some((ip) => network(ip) === network(address));
}

function byOwner(pods: readonly V1Pod[], find: (pod: V1Pod) => Finding | undefined): Finding[] {
  const found = new Map<string, Finding>();
  for (const pod of pods) {
    const finding = pod.metadata?.deletionTimestamp === undefined ? find(pod) : undefined;
    const owner = pod.metadata?.ownerReferences?.[0]?.uid ?? pod.metadata?.uid ?? '';
    if (finding !== undefined && !found.has(owner)) found.set(owner, finding);
  }
  return [...found.values()];
}

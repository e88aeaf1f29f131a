// SPDX-License-Identifier: Apache-2.0
/** What pods are told of name servers and search lists, where that cannot work. Pure. */
import type { V1Pod } from '@kubernetes/client-node';
import { addressesOfNode, type NetworkObjects } from '../target/network-objects.ts';
import type { Diagnosis } from './diagnosis.ts';
import { partyOfPod } from './parties.ts';
import { ownersOf } from './workloads.ts';

export function resolverDiagnoses(objects: NetworkObjects): Diagnosis[] {
  return objects.pods
    .filter(({ status, metadata }) => status?.phase === 'Running' && metadata?.deletionTimestamp === undefined)
    .flatMap((pod) => [...strangeServers(pod, objects), ...fewDots(pod)]);
}

/** A name server in the range of the cluster's own addresses that is none of them. */
function strangeServers(pod: V1Pod, objects: NetworkObjects): Diagnosis[] {
  const { name } = partyOfPod(pod);
  const services = objects.services.flatMap(({ spec }) => spec?.clusterIPs ?? []);
  const known = new Set([
    ...services,
    ...objects.pods.flatMap(({ status }) => (status?.podIPs ?? []).map(({ ip }) => ip)),
    ...objects.nodes.flatMap(addressesOfNode),
  ]);
  const neighbourhood = new Set(services.map(firstTwo));
  const strange = (pod.spec?.dnsConfig?.nameservers ?? []).filter(
    (server) => !known.has(server) && neighbourhood.has(firstTwo(server)),
  );
  if (strange.length === 0) return [];
  return [
    {
      reason: 'name-resolution',
      component: 'dns',
      objects: [`Pod ${name}`, ...ownersOf(pod)],
      summary: `Pod ${name} is told to ask name server ${strange.join(', ')}, which is the address of no Service.`,
      evidence: [`spec.dnsPolicy: ${pod.spec?.dnsPolicy}`, `spec.dnsConfig: ${JSON.stringify(pod.spec?.dnsConfig)}`],
      next: 'Correct spec.dnsConfig.nameservers, or let dnsPolicy be ClusterFirst.',
      weight: 87,
    },
  ];
}

/** Some resolvers then never try the search list for `service.namespace`. */
function fewDots(pod: V1Pod): Diagnosis[] {
  const { dnsPolicy = 'ClusterFirst', dnsConfig } = pod.spec ?? {};
  const option = dnsConfig?.options?.find(({ name }) => name === 'ndots');
  if (option?.value === undefined || Number(option.value) > 1 || !dnsPolicy.startsWith('ClusterFirst')) return [];
  const { name } = partyOfPod(pod);
  return [
    {
      reason: 'name-resolution',
      component: 'dns',
      objects: [`Pod ${name}`, ...ownersOf(pod)],
      summary: `Pod ${name} takes names with a dot for complete (ndots ${option.value}): names such as SERVICE.NAMESPACE are asked as they are first, and by some resolvers only so.`,
      evidence: [`spec.dnsConfig: ${JSON.stringify(dnsConfig)}`],
      next: 'Write names of other namespaces in full (SERVICE.NAMESPACE.svc.cluster.local), or leave ndots at 5.',
      weight: 30,
    },
  ];
}

function firstTwo(address: string): string {
  return address.split(/[.:]/).slice(0, 2).join('.');
}

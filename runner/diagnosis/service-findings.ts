// SPDX-License-Identifier: Apache-2.0
/** Services that cannot work, by what the API says of them, their pods and their EndpointSlices. Pure. */
import { BlockList, isIP } from 'node:net';
import type { V1EndpointSlice, V1Pod, V1Service } from '@kubernetes/client-node';
import { objectName, type Component, type Finding } from './finding.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { warnings } from './pod-findings.ts';

const dnsService = 'kube-system/kube-dns';

export function serviceFindings(objects: ClusterObjects): Finding[] {
  return objects.services.flatMap((service) => [
    ...withoutEndpoints(service, objects),
    ...strayEndpoints(service, objects),
  ]);
}

/** Blamed for a Service that leads nowhere. */
export function ownerOf(service: V1Service): Component {
  return `${service.metadata?.namespace}/${service.metadata?.name}` === dnsService ? 'dns' : 'service';
}

function withoutEndpoints(service: V1Service, { pods, endpointSlices, events }: ClusterObjects): Finding[] {
  const selector = service.spec?.selector;
  if (selector === undefined || Object.keys(selector).length === 0 || service.spec?.type === 'ExternalName') return [];
  const slices = slicesOf(service, endpointSlices);
  const serving = slices
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready !== false);
  if (serving.length > 0) return [];
  const name = objectName('Service', service.metadata);
  const selected = pods.filter((pod) => isSelected(pod, service, selector));
  const labels = Object.entries(selector).map(([key, value]) => `${key}=${value}`);
  if (selected.length === 0) {
    return [
      {
        reason: 'no-endpoints',
        component: ownerOf(service),
        objects: [name],
        summary: `${name} has no endpoints: no pod of its namespace has the labels ${labels.join(', ')}`,
        evidence: [`selector: ${labels.join(', ')}`, ...nearby(service, selector, pods)],
        next: 'Correct the selector of the Service or the labels of the pods, or start pods that have them.',
      },
    ];
  }
  const states = selected.map((pod) => `${objectName('Pod', pod.metadata)}: ${unreadiness(pod)}`);
  return [
    {
      reason: 'not-ready',
      component: ownerOf(service) === 'dns' ? 'dns' : 'application',
      objects: [name, ...selected.map((pod) => objectName('Pod', pod.metadata))],
      ...onOneNode(selected),
      summary: `${name} has no endpoints: none of its ${selected.length} pods is ready`,
      evidence: [...states, ...selected.flatMap((pod) => warnings(pod, events)).slice(0, 6)],
      next: `kubectl describe pod -n ${service.metadata?.namespace ?? ''} ${selected[0]?.metadata?.name ?? ''} says why it is not ready.`,
    },
  ];
}

/** Endpoints in the pod networks that no pod has: written by hand or by a tool that has gone. */
function strayEndpoints(service: V1Service, { nodes, pods, endpointSlices }: ClusterObjects): Finding[] {
  const podNetworks = new BlockList();
  for (const cidr of nodes.flatMap(({ spec }) => spec?.podCIDRs ?? [])) {
    const [network = '', length = ''] = cidr.split('/');
    const family = isIP(network);
    if (family !== 0) podNetworks.addSubnet(network, Number(length), family === 6 ? 'ipv6' : 'ipv4');
  }
  const held = new Set(pods.flatMap(({ status }) => [status?.podIP, ...(status?.podIPs ?? []).map(({ ip }) => ip)]));
  return slicesOf(service, endpointSlices).flatMap((slice) => {
    const stray = (slice.endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap(({ addresses }) => addresses)
      // Other providers hand out addresses beyond the nodes' podCIDRs: only where the node's own say that it must be a pod.
      .filter((address) => !held.has(address) && podNetworks.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'));
    const outside = stray.length > 0 ? stray : strayOfSelector(service, slice, held);
    if (outside.length === 0) return [];
    const name = objectName('Service', service.metadata);
    const sliceName = objectName('EndpointSlice', slice.metadata);
    return [
      {
        reason: 'stale-endpoint',
        component: 'service' as const,
        objects: [sliceName, name],
        summary: `${sliceName} sends connections of ${name} to ${outside.join(', ')}, which no pod has`,
        evidence: [
          `addresses: ${outside.join(', ')}`,
          `managed by: ${slice.metadata?.labels?.['endpointslice.kubernetes.io/managed-by'] ?? 'nobody'}`,
        ],
        next: `Delete it if nobody needs it: kubectl delete endpointslice -n ${slice.metadata?.namespace ?? ''} ${slice.metadata?.name ?? ''}`,
      },
    ];
  });
}

/** A Service with a selector has the endpoints of its pods; what a slice without a manager adds is none of them. */
function strayOfSelector(service: V1Service, slice: V1EndpointSlice, held: ReadonlySet<string | undefined>): string[] {
  const isManaged = slice.metadata?.labels?.['endpointslice.kubernetes.io/managed-by'] !== undefined;
  if (service.spec?.selector === undefined || isManaged || slice.addressType === 'FQDN') return [];
  return (slice.endpoints ?? [])
    .filter(({ conditions, targetRef }) => conditions?.ready !== false && targetRef === undefined)
    .flatMap(({ addresses }) => addresses)
    .filter((address) => !held.has(address));
}

export function slicesOf(service: V1Service, slices: readonly V1EndpointSlice[]): V1EndpointSlice[] {
  return slices.filter(
    ({ metadata }) =>
      metadata?.namespace === service.metadata?.namespace &&
      metadata?.labels?.['kubernetes.io/service-name'] === service.metadata?.name,
  );
}

function isSelected(pod: V1Pod, service: V1Service, selector: Readonly<Record<string, string>>): boolean {
  return (
    pod.metadata?.namespace === service.metadata?.namespace &&
    pod.status?.phase !== 'Succeeded' &&
    pod.status?.phase !== 'Failed' &&
    Object.entries(selector).every(([key, value]) => pod.metadata?.labels?.[key] === value)
  );
}

function unreadiness(pod: V1Pod): string {
  const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready');
  const said = [ready?.reason, ready?.message].filter((text) => text !== undefined && text !== '').join(': ');
  return `${pod.status?.phase ?? 'no status'}${said === '' ? '' : `, ${said}`}`;
}

/** Values that the pods of the namespace do have for the selector's keys: a typo is seen at once beside them. */
function nearby(service: V1Service, selector: Readonly<Record<string, string>>, pods: readonly V1Pod[]): string[] {
  return Object.keys(selector).flatMap((key) => {
    const values = new Set(
      pods
        .filter(({ metadata }) => metadata?.namespace === service.metadata?.namespace)
        .map(({ metadata }) => metadata?.labels?.[key])
        .filter((value) => value !== undefined),
    );
    return values.size === 0 ? [] : [`pods of the namespace have ${key}=${[...values].toSorted().join('|')}`];
  });
}

function onOneNode(pods: readonly V1Pod[]): { node?: string } {
  const nodes = new Set(pods.map(({ spec }) => spec?.nodeName ?? ''));
  const [node = ''] = nodes;
  return nodes.size === 1 && node !== '' ? { node } : {};
}

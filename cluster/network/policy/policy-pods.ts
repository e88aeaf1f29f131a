// SPDX-License-Identifier: Apache-2.0
// Pods as policies see them, and which address belongs to which pod at this moment.

import type { Pod } from '../../machinery/api-types.ts';
import type { CniAttachment } from './cni-attachments.ts';

export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly nodeName: string;
  readonly ips: readonly string[];
  readonly ports: readonly NamedPort[];
}

export interface NamedPort {
  readonly name: string;
  /** `tcp`, `udp` or `sctp`. */
  readonly protocol: string;
  readonly port: number;
}

/**
 * A pod reduced to what policies refer to; undefined for pods that policies don't govern: those on the host's network
 * and those that have ended, whose address may be another pod's by now.
 */
export function policyPod(pod: Pod): PolicyPod | undefined {
  const { metadata, spec, status } = pod;
  if (spec?.hostNetwork === true || status?.phase === 'Succeeded' || status?.phase === 'Failed') return undefined;
  const ports = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].flatMap((container) =>
    (container.ports ?? []).flatMap(({ name, protocol, containerPort }) =>
      name === undefined || name === ''
        ? []
        : [{ name, protocol: (protocol ?? 'TCP').toLowerCase(), port: containerPort }],
    ),
  );
  const ips = (status?.podIPs ?? (status?.podIP ? [{ ip: status.podIP }] : [])).map(({ ip }) => ip);
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    uid: metadata.uid ?? '',
    labels: metadata.labels ?? {},
    nodeName: spec?.nodeName ?? '',
    ips,
    ports,
  };
}

/**
 * The same pods with the addresses that this node's own network attachments give them. The API hears of an address
 * when the pod's containers start, which is too late; and it keeps it when the pod is gone and the address is reused.
 */
export function withAttachments(pods: Iterable<PolicyPod>, attachments: readonly CniAttachment[]): PolicyPod[] {
  const byPod = new Map<string, string[]>();
  const taken = new Map<string, string>();
  for (const { namespace, name, uid, ips } of attachments) {
    const key = attachmentKey(namespace, name, uid);
    byPod.set(key, [...(byPod.get(key) ?? []), ...ips]);
    for (const ip of ips) taken.set(ip, key);
  }
  const result: PolicyPod[] = [];
  for (const pod of pods) {
    const key = attachmentKey(pod.namespace, pod.name, pod.uid);
    const attached = byPod.get(key) ?? byPod.get(attachmentKey(pod.namespace, pod.name, ''));
    if (attached !== undefined) result.push({ ...pod, ips: attached });
    else result.push(pod.ips.some((ip) => taken.has(ip)) ? { ...pod, ips: [] } : pod);
  }
  return result;
}

function attachmentKey(namespace: string, name: string, uid: string): string {
  return `${namespace}/${name}/${uid}`;
}

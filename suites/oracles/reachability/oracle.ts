// SPDX-License-Identifier: Apache-2.0
/**
 * NetworkPolicy v1, decided from the objects alone. A flow passes when its source may send it and its destination may receive it. A
 * direction is open by default; as soon as one policy selects the pod for that direction, only what some rule of such a policy names
 * may pass. Policies only ever add: there is no order and no deny rule.
 */
import type { V1NetworkPolicy, V1NetworkPolicyPeer, V1NetworkPolicyPort } from '@kubernetes/client-node';
import type { DirectionVerdict, Flow, Model, ModelPod, Verdict } from './model.ts';
import { blockContains, selectorMatches } from './selectors.ts';

export function judge(model: Model, flow: Flow): Verdict {
  const { source, destination } = flow;
  // A pod always reaches itself: such packets never leave its network namespace.
  if (source.namespace === destination.namespace && source.name === destination.name) {
    const self = { allowed: true, why: 'a pod reaches itself' };
    return { allowed: true, egress: self, ingress: self };
  }
  const egress = direction('Egress', { model, flow, subject: source, peer: destination });
  const ingress = direction('Ingress', { model, flow, subject: destination, peer: source });
  return { allowed: egress.allowed && ingress.allowed, egress, ingress };
}

interface Question {
  readonly model: Model;
  readonly flow: Flow;
  /** The pod whose policies are asked. */
  readonly subject: ModelPod;
  readonly peer: ModelPod;
}

function direction(type: 'Ingress' | 'Egress', { model, flow, subject, peer }: Question): DirectionVerdict {
  const selecting = model.policies.filter(
    (policy) =>
      policy.metadata?.namespace === subject.namespace &&
      policyTypes(policy).includes(type) &&
      selectorMatches(policy.spec?.podSelector ?? {}, subject.labels),
  );
  if (selecting.length === 0) {
    const name = `${subject.namespace}/${subject.name}`;
    return { allowed: true, why: `default: no policy selects ${name} for ${type.toLowerCase()}` };
  }
  for (const policy of selecting) {
    for (const [index, rule] of rulesOf(policy, type).entries()) {
      const peerOk = rule.peers.length === 0 || rule.peers.some((one) => peerMatches(one, policy, { model, peer }));
      const portOk = rule.ports.length === 0 || rule.ports.some((port) => portMatches(port, flow));
      if (peerOk && portOk) {
        return { allowed: true, why: `${policyName(policy)} ${type.toLowerCase()} rule ${index}` };
      }
    }
  }
  return { allowed: false, why: `no ${type.toLowerCase()} rule of ${selecting.map(policyName).join(', ')} matches` };
}

/** Absent policyTypes mean Ingress, and Egress too if there is an egress section. */
function policyTypes({ spec }: V1NetworkPolicy): string[] {
  if (spec?.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return (spec?.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
}

function rulesOf({ spec }: V1NetworkPolicy, type: 'Ingress' | 'Egress') {
  return type === 'Ingress'
    ? (spec?.ingress ?? []).map((rule) => ({ peers: rule._from ?? [], ports: rule.ports ?? [] }))
    : (spec?.egress ?? []).map((rule) => ({ peers: rule.to ?? [], ports: rule.ports ?? [] }));
}

function peerMatches(
  { ipBlock, namespaceSelector, podSelector }: V1NetworkPolicyPeer,
  policy: V1NetworkPolicy,
  { model, peer }: { readonly model: Model; readonly peer: ModelPod },
): boolean {
  if (ipBlock !== undefined) return peer.addresses.some((address) => blockContains(ipBlock, address));
  const namespaceOk =
    namespaceSelector === undefined
      ? peer.namespace === policy.metadata?.namespace
      : selectorMatches(namespaceSelector, model.namespaces.get(peer.namespace) ?? {});
  return namespaceOk && (podSelector === undefined || selectorMatches(podSelector, peer.labels));
}

/** A named port is the destination pod's; it can be another number on each pod. */
function portMatches({ protocol = 'TCP', port, endPort }: V1NetworkPolicyPort, flow: Flow): boolean {
  if (protocol.toLowerCase() !== flow.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'string' && !/^\d+$/.test(port)) {
    return flow.destination.namedPorts[`${flow.protocol}/${port}`] === flow.port;
  }
  const first = Number(port);
  return flow.port >= first && flow.port <= (endPort ?? first);
}

function policyName({ metadata }: V1NetworkPolicy): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

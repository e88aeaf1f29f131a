// SPDX-License-Identifier: Apache-2.0
/**
 * networking.k8s.io/v1 NetworkPolicy. Nothing to say about a pod that no policy selects for the direction; otherwise only what some rule of
 * such a policy names may pass. Policies only ever add: there is no order and no deny rule.
 */
import type { V1NetworkPolicy, V1NetworkPolicyPeer, V1NetworkPolicyPort } from '@kubernetes/client-node';
import { isPod, numberOfPort, type Flow, type Question, type TierStep } from './model.ts';
import { blockContains, sameAddress, selectorMatches } from './selectors.ts';

const tier = 'NetworkPolicy';

export function judgeNetworkPolicies(question: Question): TierStep | undefined {
  const { model, flow, type, subject } = question;
  const selecting = model.policies.filter(
    (policy) =>
      policy.metadata?.namespace === subject.namespace &&
      policyTypesOf(policy).includes(type) &&
      selectorMatches(policy.spec?.podSelector ?? {}, subject.labels),
  );
  if (selecting.length === 0) return undefined;
  if (isOwnNode(question))
    return {
      tier,
      action: 'Accept',
      why: `a pod and its own node ${subject.node} always reach each other`,
      policies: [],
    };
  const word = type.toLowerCase();
  for (const policy of selecting) {
    for (const [index, rule] of rulesOf(policy, type).entries()) {
      const peerOk = rule.peers.length === 0 || rule.peers.some((one) => peerMatches(one, policy, question));
      const portOk = rule.ports.length === 0 || rule.ports.some((port) => portMatches(port, flow));
      if (peerOk && portOk) {
        const name = policyName(policy);
        return { tier, action: 'Accept', why: `${name} ${word} rule ${index}`, policies: [name] };
      }
    }
  }
  const names = selecting.map(policyName);
  return { tier, action: 'Deny', why: `no ${word} rule of ${names.join(', ')} matches`, policies: names };
}

/** Absent policyTypes mean Ingress, and Egress too if there is an egress section. */
export function policyTypesOf({ spec }: V1NetworkPolicy): string[] {
  if (spec?.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return (spec?.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
}

/** Traffic between a pod and the node it runs on is never stopped by a NetworkPolicy; kubelet's health checks depend on it. */
function isOwnNode({ model, subject, peer, peerAddress }: Question): boolean {
  if (isPod(peer)) return peer.hostNetwork === true && peer.node === subject.node;
  const node = (model.nodes ?? []).find(({ name }) => name === subject.node);
  return node?.addresses.some((address) => sameAddress(address, peerAddress)) === true;
}

function rulesOf({ spec }: V1NetworkPolicy, type: 'Ingress' | 'Egress') {
  return type === 'Ingress'
    ? (spec?.ingress ?? []).map((rule) => ({ peers: rule._from ?? [], ports: rule.ports ?? [] }))
    : (spec?.egress ?? []).map((rule) => ({ peers: rule.to ?? [], ports: rule.ports ?? [] }));
}

function peerMatches(
  { ipBlock, namespaceSelector, podSelector }: V1NetworkPolicyPeer,
  policy: V1NetworkPolicy,
  { model, peer, peerAddress }: Question,
): boolean {
  if (ipBlock !== undefined) return blockContains(ipBlock, peerAddress);
  if (!isPod(peer) || peer.hostNetwork === true) return false;
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
    return numberOfPort(flow.destination, flow.protocol, port) === flow.port;
  }
  const first = Number(port);
  return flow.port >= first && flow.port <= (endPort ?? first);
}

function policyName({ metadata }: V1NetworkPolicy): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

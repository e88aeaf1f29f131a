// SPDX-License-Identifier: Apache-2.0
/**
 * One tier of ClusterNetworkPolicies. The first rule that matches decides: policies in the order of their priority, rules in the order in
 * which they are written. Pass ends the tier without a decision. Where policies of one priority disagree the first by name is taken and
 * the step marked as ambiguous.
 */
import type {
  ClusterNetworkPolicy,
  ClusterPolicyPeer,
  ClusterPolicyProtocol,
  ClusterPolicyRule,
  ClusterPolicySubject,
} from './cluster-network-policy.ts';
import {
  isPod,
  numberOfPort,
  type Flow,
  type Labels,
  type Model,
  type ModelPod,
  type Question,
  type TierStep,
} from './model.ts';
import { blockContains, sameAddress, selectorMatches } from './selectors.ts';

export function judgeClusterTier(tier: 'Admin' | 'Baseline', question: Question): TierStep | undefined {
  const applying = (question.model.clusterPolicies ?? [])
    .filter(({ spec }) => spec.tier === tier && selectsPod(spec.subject, question.subject, question.model))
    .toSorted((a, b) => a.spec.priority - b.spec.priority || nameOf(a).localeCompare(nameOf(b)));
  for (const [index, policy] of applying.entries()) {
    const found = firstMatch(policy, question);
    if (found === undefined) continue;
    const equals = applying.slice(index + 1).filter(({ spec }) => spec.priority === policy.spec.priority);
    const ambiguous = equals.some((other) => (firstMatch(other, question)?.action ?? found.action) !== found.action);
    return { tier, ...found, policies: [nameOf(policy)], ...(ambiguous && { ambiguous }) };
  }
  return undefined;
}

function firstMatch(policy: ClusterNetworkPolicy, question: Question): Pick<TierStep, 'action' | 'why'> | undefined {
  const { type, flow } = question;
  const rules = type === 'Ingress' ? policy.spec.ingress : policy.spec.egress;
  for (const [index, rule] of (rules ?? []).entries()) {
    const why = `${nameOf(policy)} ${type.toLowerCase()} rule ${index}${rule.name === undefined ? '' : ` "${rule.name}"`}`;
    const matches = ruleMatches(rule, question, flow);
    if (matches === 'closed') return { action: 'Deny', why: `${why}, which has a peer of an unknown kind` };
    if (matches) return { action: rule.action, why };
  }
  return undefined;
}

/** `closed`: the rule has a peer that this version of the API does not know; it must then deny all, or, of Accept, match nothing. */
function ruleMatches(rule: ClusterPolicyRule, question: Question, flow: Flow): boolean | 'closed' {
  const peers = (question.type === 'Ingress' ? rule.from : rule.to) ?? [];
  if (peers.some((peer) => !isKnown(peer))) return rule.action === 'Accept' ? false : 'closed';
  const protocolOk = rule.protocols === undefined || rule.protocols.some((one) => protocolMatches(one, flow));
  return protocolOk && peers.some((peer) => peerMatches(peer, question));
}

function isKnown(peer: ClusterPolicyPeer): boolean {
  return ['namespaces', 'pods', 'nodes', 'networks', 'domainNames'].some((field) => field in peer);
}

function peerMatches(peer: ClusterPolicyPeer, { model, peer: party, peerAddress }: Question): boolean {
  if (peer.networks !== undefined) return peer.networks.some((cidr) => blockContains({ cidr }, peerAddress));
  const { nodes } = peer;
  if (nodes !== undefined) {
    return (model.nodes ?? []).some(
      ({ labels, addresses }) =>
        selectorMatches(nodes, labels) && addresses.some((address) => sameAddress(address, peerAddress)),
    );
  }
  // Which addresses a domain name has cannot be known from the objects.
  return peer.domainNames === undefined && isPod(party) && selectsPod(peer, party, model);
}

/** Pods of the host network are neither subjects nor peers. */
function selectsPod({ namespaces, pods }: ClusterPolicySubject, pod: ModelPod, model: Model): boolean {
  if (pod.hostNetwork === true) return false;
  const namespaceLabels: Labels = model.namespaces.get(pod.namespace) ?? {};
  if (namespaces !== undefined) return selectorMatches(namespaces, namespaceLabels);
  if (pods === undefined) return false;
  return (
    selectorMatches(pods.namespaceSelector ?? {}, namespaceLabels) &&
    selectorMatches(pods.podSelector ?? {}, pod.labels)
  );
}

function protocolMatches(match: ClusterPolicyProtocol, { protocol, port, destination }: Flow): boolean {
  if (match.destinationNamedPort !== undefined) {
    return numberOfPort(destination, protocol, match.destinationNamedPort) === port;
  }
  const fields = match[protocol];
  if (fields === undefined) return false;
  const { number, range } = fields.destinationPort ?? {};
  if (number !== undefined) return port === number;
  return range === undefined || (port >= range.start && port <= range.end);
}

function nameOf({ metadata }: ClusterNetworkPolicy): string {
  return metadata?.name ?? '';
}

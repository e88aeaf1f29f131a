// SPDX-License-Identifier: Apache-2.0
/** The part of `plumb policy lint` that looks at ClusterNetworkPolicies. */
import type {
  ClusterNetworkPolicy,
  ClusterPolicyRule,
} from '../../suites/oracles/reachability/cluster-network-policy.ts';
import type { Finding } from './policy-lint.ts';
import type { PolicyInput } from './policy-model.ts';

type Report = (finding: Omit<Finding, 'object' | 'origin'>) => void;

export function lintClusterPolicies({ model, policyDocuments }: PolicyInput): Finding[] {
  const findings: Finding[] = [];
  const all = model.clusterPolicies ?? [];
  for (const policy of all) {
    const name = policy.metadata?.name ?? '';
    const origin = policyDocuments.find((one) => one.namespace === '' && one.name === name)?.origin ?? '';
    const report: Report = (finding) => findings.push({ ...finding, object: name, origin });
    lintPriority(policy, all, report);
    for (const direction of ['ingress', 'egress'] as const)
      for (const [index, rule] of (policy.spec[direction] ?? []).entries())
        lintRule(rule, `spec.${direction}[${index}]`, report);
  }
  return findings;
}

function lintPriority(
  { metadata, spec }: ClusterNetworkPolicy,
  all: readonly ClusterNetworkPolicy[],
  report: Report,
): void {
  const twin = all.find(
    (other) =>
      other.metadata?.name !== metadata?.name && other.spec.tier === spec.tier && other.spec.priority === spec.priority,
  );
  if (twin === undefined) return;
  report({
    check: 'equal-priority',
    field: 'spec.priority',
    message: `${twin.metadata?.name} has priority ${spec.priority} in the same tier; where both match, any of them may win`,
    remedy: 'Give every policy of a tier its own priority.',
  });
}

function lintRule({ action, from, to, protocols = [] }: ClusterPolicyRule, path: string, report: Report): void {
  const field = from === undefined ? 'to' : 'from';
  const named = protocols.some(({ destinationNamedPort }) => destinationNamedPort !== undefined);
  for (const [index, peer] of (from ?? to ?? []).entries()) {
    const at = `${path}.${field}[${index}]`;
    const kinds = Object.keys(peer);
    if (kinds.length !== 1) {
      const message =
        kinds.length === 0
          ? `has a peer of no known kind: the rule must then ${action === 'Accept' ? 'match nothing' : 'deny everything'}`
          : `has several kinds in one peer: ${kinds.join(', ')}`;
      report({
        check: 'peer-kind',
        field: at,
        message,
        remedy: 'Give each peer exactly one of namespaces, pods, nodes, networks, domainNames.',
      });
    }
    if (peer.domainNames !== undefined && action !== 'Accept') {
      const message = `domainNames only go with Accept, not with ${action}`;
      report({
        check: 'domain-names-action',
        field: `${at}.domainNames`,
        message,
        remedy: 'Accept the names, and deny the rest in a later rule.',
      });
    }
    if (named && (peer.nodes ?? peer.networks ?? peer.domainNames) !== undefined) {
      const message = 'nodes, networks and domain names have no named ports';
      report({
        check: 'named-port-without-pods',
        field: `${path}.protocols`,
        message,
        remedy: 'Write the number of the port.',
      });
    }
  }
  for (const [index, protocol] of protocols.entries()) {
    for (const kind of ['tcp', 'udp', 'sctp'] as const) {
      const range = protocol[kind]?.destinationPort?.range;
      if (range === undefined || range.start < range.end) continue;
      const message = `the range starts at ${range.start} and ends at ${range.end}`;
      report({
        check: 'range',
        field: `${path}.protocols[${index}].${kind}.destinationPort.range`,
        message,
        remedy: 'The start must be less than the end.',
      });
    }
  }
}

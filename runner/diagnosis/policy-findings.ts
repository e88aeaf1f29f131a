// SPDX-License-Identifier: Apache-2.0
/** Policies that are hardly meant as they are, by what they keep apart: pods from DNS, and everybody from a port. Pure. */
import type { ModelPod, Verdict } from '../../suites/oracles/reachability/model.ts';
import { judge } from '../../suites/oracles/reachability/oracle.ts';
import { lintPolicies } from '../cli/policy-lint.ts';
import { policyInput } from '../cli/policy-model.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import type { Finding } from './finding.ts';

/** Mistakes of a policy after which it lets nobody through to whom it was written for. Others are for `plumb policy lint`. */
const grave = new Set(['port-name-nobody-serves', 'rules-without-type', 'end-port-below-port']);

export function policyFindings(objects: ClusterObjects): Finding[] {
  const input = policyInput(objects.documents);
  const mistakes = lintPolicies(input)
    .filter(({ check }) => grave.has(check))
    .map(({ object, field, message, remedy }): Finding => ({
      reason: 'policy',
      component: 'network-policy',
      objects: [`NetworkPolicy ${object}`],
      summary: `NetworkPolicy ${object} does not do what it was written for: ${message}`,
      evidence: [`${field}: ${message}`],
      next: remedy,
    }));
  return [...mistakes, ...withoutDns(input.model)];
}

/** Pods that may not ask DNS over UDP, by the policies behind it. */
function withoutDns(model: ReturnType<typeof policyInput>['model']): Finding[] {
  const servers = model.pods.filter(
    ({ namespace, labels }) => namespace === 'kube-system' && labels['k8s-app'] === 'kube-dns',
  );
  if (servers.length === 0) return [];
  const kept = new Map<string, { pods: ModelPod[]; why: string }>();
  for (const source of model.pods.filter(({ hostNetwork }) => hostNetwork !== true)) {
    if (servers.includes(source)) continue;
    const verdicts = servers.map((destination) =>
      judge(model, { source, destination, protocol: 'udp', port: dnsPort(destination) }),
    );
    if (verdicts.some(({ allowed }) => allowed)) continue;
    for (const { policies, why } of deniedBy(verdicts[0])) {
      const key = policies.join(', ');
      const entry = kept.get(key) ?? { pods: [], why };
      entry.pods.push(source);
      kept.set(key, entry);
    }
  }
  return [...kept].map(([policies, { pods, why }]) => {
    const names = policies
      .split(', ')
      .map((name) => (name.includes('/') ? `NetworkPolicy ${name}` : `ClusterNetworkPolicy ${name}`));
    return {
      reason: 'policy',
      component: 'network-policy' as const,
      objects: names,
      summary: `${names.join(' and ')} keep${names.length === 1 ? 's' : ''} ${pods.length} pods from cluster DNS, so no name resolves in them`,
      evidence: [
        why,
        `pods: ${pods
          .map(({ namespace, name }) => `${namespace}/${name}`)
          .slice(0, 5)
          .join(', ')}${pods.length > 5 ? ', ...' : ''}`,
      ],
      next: 'Allow port 53 of UDP and TCP to namespace kube-system, pods k8s-app=kube-dns; where the policy selects the DNS pods, from everybody.',
    };
  });
}

function deniedBy(verdict: Verdict | undefined): { policies: readonly string[]; why: string }[] {
  return [verdict?.egress, verdict?.ingress].flatMap((direction) => {
    if (direction === undefined || direction.allowed) return [];
    const step = direction.steps.at(-1);
    return step === undefined ? [] : [{ policies: step.policies, why: step.why }];
  });
}

function dnsPort({ namedPorts }: ModelPod): number {
  return Object.entries(namedPorts).find(([name]) => name.startsWith('udp/dns'))?.[1] ?? 53;
}

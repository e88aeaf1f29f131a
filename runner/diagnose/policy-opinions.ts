// SPDX-License-Identifier: Apache-2.0
/** What the policies say by themselves about a traced flow, by the oracle that knows no implementation. */
import type { Observations, Party, PolicyOpinion } from '../../probes/trace/observations.ts';
import { isPod, type DirectionVerdict, type Party as ModelParty } from '../../suites/oracles/reachability/model.ts';
import { judge } from '../../suites/oracles/reachability/oracle.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import { toDocuments } from '../cli/policy-documents.ts';
import { policyInput, type PolicyInput } from '../cli/policy-model.ts';

export interface OpinionInput {
  readonly from: Party;
  readonly protocol: 'tcp' | 'udp';
  readonly throughService: boolean;
}

type Servers = Observations['question']['servers'];

/** Takes the objects apart once; flows are then cheap. */
export function policyOpinions(objects: NetworkObjects): (input: OpinionInput, servers: Servers) => PolicyOpinion[] {
  const list = (apiVersion: string, kind: string, items: readonly unknown[]): ReturnType<typeof toDocuments> =>
    toDocuments({ apiVersion, kind: `${kind}List`, items: [...items] }, 'the cluster');
  const policies = policyInput([
    ...list('v1', 'Namespace', objects.namespaces),
    ...list('v1', 'Node', objects.nodes),
    ...list('v1', 'Pod', objects.pods),
    ...list('networking.k8s.io/v1', 'NetworkPolicy', objects.policies),
    ...list('policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy', objects.clusterPolicies),
  ]);
  return (input, servers) =>
    servers
      .flatMap((server): PolicyOpinion[] => {
        const source = modelParty(policies, input.from);
        const destination = modelParty(policies, server);
        const { protocol, throughService } = input;
        const verdict = judge(policies.model, { source, destination, protocol, port: server.port, throughService });
        return [
          ...opinion('egress', { policies, subject: source, verdict: verdict.egress }),
          ...opinion('ingress', { policies, subject: destination, verdict: verdict.ingress }),
        ];
      })
      .filter(
        (one, index, all) =>
          all.findIndex(({ direction, subject }) => direction === one.direction && subject === one.subject) === index,
      );
}

function modelParty({ model }: PolicyInput, { kind, name, addresses }: Party): ModelParty {
  const pod = kind === 'pod' ? model.pods.find((one) => `${one.namespace}/${one.name}` === name) : undefined;
  return pod ?? { address: addresses[0] ?? '0.0.0.0' };
}

function opinion(
  direction: 'egress' | 'ingress',
  { policies, subject, verdict }: { policies: PolicyInput; subject: ModelParty; verdict: DirectionVerdict },
): PolicyOpinion[] {
  if (!isPod(subject) || subject.hostNetwork === true) return [];
  const last = verdict.steps.at(-1);
  const names = last?.policies ?? [];
  const involved = policies.model.policies.filter(({ metadata }) =>
    names.includes(`${metadata?.namespace}/${metadata?.name}`),
  );
  return [
    {
      direction,
      subject: `${subject.namespace}/${subject.name}`,
      allowed: verdict.allowed,
      why: verdict.why,
      policies: names,
      noRulesAtAll:
        involved.length > 0 &&
        involved.length === names.length &&
        involved.every(({ spec }) => (spec?.[direction] ?? []).length === 0),
    },
  ];
}

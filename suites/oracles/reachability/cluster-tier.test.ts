// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ClusterNetworkPolicy, ClusterPolicyRule } from './cluster-network-policy.ts';
import type { Model, ModelPod, Verdict } from './model.ts';
import { judge } from './oracle.ts';

function pod(namespace: string, name: string, address: string, hostNetwork = false): ModelPod {
  return {
    namespace,
    name,
    labels: { pod: name },
    addresses: [address],
    node: 'one',
    namedPorts: { 'tcp/web': 80 },
    hostNetwork,
  };
}

const client = pod('x', 'client', '10.0.0.1');
const server = pod('y', 'server', '10.0.0.2');
const onHost = pod('y', 'host', '172.18.0.2', true);

function egress(
  name: string,
  rules: readonly ClusterPolicyRule[],
  spec: Partial<ClusterNetworkPolicy['spec']> = {},
): ClusterNetworkPolicy {
  return {
    metadata: { name },
    spec: { tier: 'Admin', priority: 5, subject: { namespaces: {} }, egress: rules, ...spec },
  };
}

const all = { namespaces: {} };
const denyX = { metadata: { namespace: 'x', name: 'deny' }, spec: { podSelector: {}, policyTypes: ['Egress'] } };

function ask(
  clusterPolicies: readonly ClusterNetworkPolicy[],
  { policies = [], destination = server }: { policies?: Model['policies']; destination?: ModelPod } = {},
): Verdict {
  const model: Model = {
    pods: [client, server, onHost],
    namespaces: new Map([
      ['x', {}],
      ['y', {}],
    ]),
    nodes: [{ name: 'one', labels: { zone: 'a' }, addresses: ['172.18.0.2'] }],
    policies,
    clusterPolicies,
  };
  return judge(model, { source: client, destination, protocol: 'tcp', port: 80 });
}

describe('oracle: ClusterNetworkPolicy', () => {
  it('asks Admin, then NetworkPolicy, then Baseline', () => {
    const policies = [denyX];
    expect(ask([egress('a', [{ action: 'Accept', to: [all] }])], { policies }).allowed).to.equal(true);
    const passed = ask(
      [
        egress('a', [
          { action: 'Pass', to: [all] },
          { action: 'Accept', to: [all] },
        ]),
      ],
      { policies },
    );
    expect(passed.egress.steps.map(({ tier, action }) => `${tier} ${action}`)).to.deep.equal([
      'Admin Pass',
      'NetworkPolicy Deny',
    ]);
    const baseline = egress('b', [{ action: 'Deny', to: [all], name: 'last' }], { tier: 'Baseline' });
    expect(ask([baseline]).egress.why).to.equal('b egress rule 0 "last"');
    expect(ask([baseline], { policies: [{ ...denyX, spec: { ...denyX.spec, egress: [{}] } }] }).allowed).to.equal(true);
  });

  it('lets the lower priority number win, and says where equal ones disagree', () => {
    const accept = egress('accept', [{ action: 'Accept', to: [all] }]);
    const deny = egress('deny', [{ action: 'Deny', to: [all] }], { priority: 4 });
    expect(ask([accept, deny]).egress).to.include({ allowed: false, ambiguous: false });
    expect(ask([accept, { ...deny, spec: { ...deny.spec, priority: 5 } }]).egress).to.include({ ambiguous: true });
  });

  it('matches nodes and networks by address, and never a host-network pod by label', () => {
    const deny = (peer: object): boolean =>
      ask([egress('p', [{ action: 'Deny', to: [peer] }])], { destination: onHost }).allowed;
    expect(deny({ nodes: { matchLabels: { zone: 'a' } } })).to.equal(false);
    expect(deny({ nodes: { matchLabels: { zone: 'b' } } })).to.equal(true);
    expect(deny({ networks: ['172.18.0.0/24'] })).to.equal(false);
    expect(deny(all)).to.equal(true);
  });

  it('fails closed over a peer of an unknown kind', () => {
    const rule = (action: ClusterPolicyRule['action']) =>
      ask([egress('p', [{ action, to: [{}] }])], { policies: [denyX] });
    expect(rule('Accept').egress.why).to.include('x/deny');
    expect(rule('Pass').egress.why).to.include('unknown kind');
  });

  it('holds for a pod that reaches itself through a Service, but not directly', () => {
    const model: Model = {
      pods: [client],
      namespaces: new Map([['x', {}]]),
      policies: [denyX],
      clusterPolicies: [egress('p', [{ action: 'Deny', to: [all] }])],
    };
    const flow = { source: client, destination: client, protocol: 'tcp', port: 80 } as const;
    expect(judge(model, flow).allowed).to.equal(true);
    expect(judge(model, { ...flow, throughService: true }).allowed).to.equal(false);
    expect(judge({ ...model, clusterPolicies: [] }, { ...flow, throughService: true }).allowed).to.equal(true);
  });
});

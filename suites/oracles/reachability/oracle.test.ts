// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { V1NetworkPolicySpec } from '@kubernetes/client-node';
import type { Flow, Model, ModelPod } from './model.ts';
import { judge } from './oracle.ts';

function pod(namespace: string, name: string, address: string, web: number): ModelPod {
  return { namespace, name, labels: { pod: name }, addresses: [address], node: 'n', namedPorts: { 'tcp/web': web } };
}

const xa = pod('x', 'a', '10.0.0.1', 80);
const xb = pod('x', 'b', '10.0.0.2', 81);
const ya = pod('y', 'a', '10.0.1.1', 80);

function allowed(specs: Readonly<Record<string, V1NetworkPolicySpec>>, flow: Partial<Flow>): boolean {
  const model: Model = {
    pods: [xa, xb, ya],
    namespaces: new Map([
      ['x', { ns: 'x' }],
      ['y', { ns: 'y' }],
    ]),
    policies: Object.entries(specs).map(([key, spec]) => {
      const [namespace = '', name = ''] = key.split('/');
      return { metadata: { namespace, name }, spec };
    }),
  };
  return judge(model, { source: ya, destination: xa, protocol: 'tcp', port: 80, ...flow }).allowed;
}

describe('oracle: NetworkPolicy', () => {
  it('is open where no policy selects, closed where one does', () => {
    expect(allowed({}, {})).to.equal(true);
    expect(allowed({ 'x/p': { podSelector: {} } }, {})).to.equal(false);
    expect(allowed({ 'y/p': { podSelector: {} } }, {})).to.equal(true);
    expect(allowed({ 'y/p': { podSelector: {}, policyTypes: ['Egress'] } }, {})).to.equal(false);
    expect(allowed({ 'x/p': { podSelector: {} } }, { source: xa })).to.equal(true);
  });

  it('keeps a pod selector in its namespace and joins selectors of one peer', () => {
    const from = (peers: object[]): Record<string, V1NetworkPolicySpec> => ({
      'x/p': { podSelector: {}, ingress: [{ _from: peers }] },
    });
    const podA = { podSelector: { matchLabels: { pod: 'a' } } };
    expect(allowed(from([podA]), {})).to.equal(false);
    expect(allowed(from([{ ...podA, namespaceSelector: { matchLabels: { ns: 'y' } } }]), {})).to.equal(true);
    expect(allowed(from([{ ...podA, namespaceSelector: { matchLabels: { ns: 'x' } } }]), {})).to.equal(false);
  });

  it('resolves a named port on each destination', () => {
    const web = { 'x/p': { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] } };
    expect(allowed(web, { port: 80 })).to.equal(true);
    expect(allowed(web, { destination: xb, port: 80 })).to.equal(false);
    expect(allowed(web, { destination: xb, port: 81 })).to.equal(true);
    expect(allowed(web, { port: 80, protocol: 'udp' })).to.equal(false);
  });

  it('takes both ends of a range and excepts addresses of a block', () => {
    const range = { 'x/p': { podSelector: {}, ingress: [{ ports: [{ port: 79, endPort: 80 }] }] } };
    expect([78, 79, 80, 81].map((port) => allowed(range, { port }))).to.deep.equal([false, true, true, false]);
    const block = (except: string[]) => ({
      'x/p': { podSelector: {}, ingress: [{ _from: [{ ipBlock: { cidr: '10.0.0.0/16', except } }] }] },
    });
    expect(allowed(block([]), {})).to.equal(true);
    expect(allowed(block(['10.0.1.0/24']), {})).to.equal(false);
  });
});

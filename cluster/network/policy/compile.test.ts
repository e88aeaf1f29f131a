// SPDX-License-Identifier: Apache-2.0
// Virtual packets through compiled policies: named cases, and random clusters against a direct reading of the API.
import { expect } from 'chai';
import * as fc from 'fast-check';

import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { containsAddress, parsePrefix } from '../addresses.ts';
import { planTransaction } from '../nft/transaction.ts';
import { tracePacket } from '../nft/trace-packet.ts';
import { PolicyCompiler, compilePolicies, policyDirections } from './compile.ts';
import { withAttachments } from './policy-pods.ts';
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
  PolicyType,
} from '../../machinery/api-types.ts';
import type { Table } from '../nft/ruleset.ts';
import type { ClusterNetworkPolicy } from './cluster-network-policy.ts';
import type { Trace } from '../nft/trace-packet.ts';
import type { PolicyInput } from './compile.ts';
import type { PolicyPod } from './policy-pods.ts';

const nodes = ['n1', 'n2'];
const podCIDRs: Readonly<Record<string, string>> = { n1: '10.244.1.0/24', n2: '10.244.2.0/24' };
const nodeAddresses: Readonly<Record<string, string>> = { n1: '172.18.0.1', n2: '172.18.0.2' };
const namespaces = new Map<string, Record<string, string>>([
  ['x', { ns: 'x' }],
  ['y', { ns: 'y' }],
  ['z', { ns: 'z' }],
]);

describe('compiled network policies', () => {
  const pods = [pod('x', 'a', 'n1', 10), pod('x', 'b', 'n1', 11), pod('y', 'a', 'n2', 10), pod('y', 'c', 'n1', 12)];
  const [xa, xb, ya, yc] = pods as [PolicyPod, PolicyPod, PolicyPod, PolicyPod];

  it('leave pods alone that no policy selects', () => {
    const allowed = world(pods, []);
    for (const from of pods) for (const to of pods) expect(allowed({ from, to }).end).to.not.equal('dropped');
  });

  it('deny everything into a namespace but the pod itself, its node, and what goes out', () => {
    const send = world(pods, [policy('x', 'deny', { podSelector: {}, policyTypes: ['Ingress'] })]);
    const drop = send({ from: ya, to: xa });
    expect(drop.end).to.equal('dropped');
    expect(drop.by?.rule.comment).to.equal('ingress of x/a not allowed by x/deny');
    expect(send({ from: xb, to: xa }).end).to.equal('dropped');
    expect(send({ from: xa, to: xa }).end).to.equal('forwarded');
    expect(send({ from: xa, to: ya }).end).to.equal('forwarded');
    expect(fromNode(compiled(pods, [policy('x', 'deny', { podSelector: {} })], 'n1'), xa).end).to.equal('forwarded');
  });

  it('let answers of allowed connections pass, and cut connections that are no longer allowed', () => {
    const table = compiled(pods, [policy('x', 'deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] })], 'n1');
    const established = {
      source: ip(xa),
      destination: ip(ya),
      protocol: 'tcp',
      port: 4000,
      state: 'established',
    } as const;
    const options = { tables: [table], localAddresses: ['172.18.0.1'] };
    expect(tracePacket({ ...established, reply: true }, options).end).to.equal('forwarded');
    expect(tracePacket({ ...established, state: 'related' }, options).end).to.equal('forwarded');
    expect(tracePacket(established, options).by?.rule.comment).to.equal('egress of x/a not allowed by x/deny');
  });

  it('count drops by policy, and what is allowed by rule, under names that outlive the rules', () => {
    const allow = (port: number) =>
      policy('x', 'web', { podSelector: {}, ingress: [{ ports: [{ port: 1 }] }, { ports: [{ port }] }] });
    const before = compiled(pods, [allow(80), policy('x', 'deny', { podSelector: {} })], 'n1');
    const send = (table: Table, port: number): readonly (string | undefined)[] => {
      const packet = { source: ip(ya), destination: ip(xa), protocol: 'tcp', port };
      const names: (string | undefined)[] = [];
      tracePacket(packet, { tables: [table], localAddresses: [], counted: (name) => void names.push(name) });
      return names;
    };
    expect(send(before, 80)).to.deep.equal(['np/x/web/ingress/1']);
    expect(send(before, 81)).to.deep.equal(['np/x/deny/ingress/drop', 'np/x/web/ingress/drop']);
    const after = compiled(pods, [allow(81), policy('x', 'deny', { podSelector: {} })], 'n1');
    expect(send(after, 81)).to.deep.equal(['np/x/web/ingress/1']);
    const { preparation, commands } = planTransaction(before, after);
    expect(preparation + commands).to.not.contain('counter inet');
  });

  it('read a named port as the port that each receiving pod gives it', () => {
    const web = (port: number) => [{ name: 'web', protocol: 'tcp', port }];
    const [a, b, c] = [
      { ...xa, ports: web(8080) },
      { ...xb, ports: web(9090) },
      { ...yc, ports: [{ name: 'web', protocol: 'udp', port: 8080 }] },
    ] as const;
    const into = world([a, b, c], [policy('x', 'named', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] })]);
    expect(into({ from: c, to: a, port: 8080 }).end).to.equal('forwarded');
    expect(into({ from: c, to: a, port: 9090 }).end).to.equal('dropped');
    expect(into({ from: c, to: b, port: 9090 }).end).to.equal('forwarded');
    const out = world(
      [a, b, c],
      [policy('y', 'named', { podSelector: {}, policyTypes: ['Egress'], egress: [{ ports: [{ port: 'web' }] }] })],
    );
    expect(out({ from: c, to: a, port: 8080 }).end).to.equal('forwarded');
    expect(out({ from: c, to: b, port: 8080 }).end).to.equal('dropped');
  });

  it('drop packets of addresses whose pod is not known yet', () => {
    const table = compiled(pods, [], 'n1');
    const stranger = { source: '10.244.1.99', destination: ip(ya), protocol: 'tcp', port: 80 };
    const trace = tracePacket(stranger, { tables: [table], localAddresses: [] });
    expect(trace.by?.rule.comment).to.contain('guard');
    const into = tracePacket(
      { ...stranger, source: ip(ya), destination: '10.244.1.99' },
      { tables: [table], localAddresses: [] },
    );
    expect(into.end).to.equal('dropped');
  });

  it('believe network attachments over the API when an address is reused', () => {
    const old = { ...xa, ips: ['10.244.1.50'] };
    const fresh = { ...xb, ips: [] };
    const [before, after] = withAttachments(
      [old, fresh],
      [{ namespace: 'x', name: 'b', uid: 'x-b', ips: ['10.244.1.50'] }],
    );
    expect(before?.ips).to.deep.equal([]);
    expect(after?.ips).to.deep.equal(['10.244.1.50']);
  });

  it('change one set element when a peer comes, and nothing when a heartbeat does', () => {
    const allow = policy('x', 'from-y', {
      podSelector: {},
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: 'y' } } }] }],
    });
    const before = compiled(pods, [allow], 'n1');
    const after = compiled([...pods, pod('y', 'new', 'n2', 77)], [allow], 'n1');
    expect(planTransaction(before, after).commands).to.match(
      /^add element inet plumb_policy pods-\w+-ip \{ 10\.244\.2\.77 \}\n$/,
    );
    expect(planTransaction(before, compiled(pods, [allow], 'n1')).commands).to.equal('');
  });

  it('are compiled anew to the same table as from nothing, whatever changed', function () {
    this.timeout(20_000);
    const states = fc.array(fc.tuple(randomPods, fc.array(randomPolicy, { maxLength: 4 })), {
      minLength: 2,
      maxLength: 4,
    });
    fc.assert(
      fc.property(states, (list) => {
        const compiler = new PolicyCompiler();
        for (const [some, policies] of list) {
          const state = input(some, policies, 'n1');
          expect(compiler.compile(state)).to.deep.equal(compilePolicies(state));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('say what a pod may send to its own node in cluster policies only', () => {
    const rule = {
      action: 'Deny',
      to: [{ nodes: {} }],
      protocols: [{ tcp: { destinationPort: { number: 10250 } } }],
    } as const;
    const cluster: ClusterNetworkPolicy = {
      metadata: { name: 'no-kubelet' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        egress: [rule, { action: 'Pass', to: [{ nodes: {} }] }],
      },
    };
    const deny = policy('x', 'deny', { podSelector: {}, policyTypes: ['Egress'] });
    const table = compilePolicies({ ...input(pods, [deny], 'n1'), clusterPolicies: [cluster] });
    const send = (destination: string, port: number): Trace =>
      tracePacket(
        { source: ip(xa), destination, protocol: 'tcp', port },
        { tables: [table], localAddresses: ['172.18.0.1'] },
      );
    expect(send('172.18.0.1', 10250).by?.rule.comment).to.equal('no-kubelet Admin egress[0]: Deny');
    expect(send('172.18.0.1', 443).end).to.equal('delivered');
    expect(send('172.18.0.2', 443).by?.rule.comment).to.equal('egress of x/a not allowed by x/deny');
    const neighbour = {
      source: 'fe80::2',
      destination: 'fe80::1',
      protocol: 'icmpv6',
      port: 0,
      icmpType: 'nd-neighbor-solicit',
    };
    expect(tracePacket(neighbour, { tables: [table], localAddresses: ['fe80::1'] }).end).to.equal('delivered');
  });

  it('agree with a direct reading of the API on random clusters', function () {
    this.timeout(20_000);
    fc.assert(
      fc.property(randomPods, fc.array(randomPolicy, { maxLength: 4 }), randomProbes, (some, policies, probes) => {
        const send = world(some, policies);
        for (const { from, to, port, protocol } of probes) {
          const source = some[from % some.length];
          const target = some[to % some.length];
          if (source === undefined || target === undefined || source === target) continue;
          const expected = allowed(policies, { source, target, port, protocol }) ? 'forwarded' : 'dropped';
          const got = send({ from: source, to: target, port, protocol });
          const what = `${source.namespace}/${source.name} -> ${target.namespace}/${target.name}:${port}/${protocol}`;
          expect(got.end, `${what} ${JSON.stringify(got.by)}`).to.equal(expected);
        }
      }),
      { numRuns: 400 },
    );
  });
});

interface Probe {
  readonly from: PolicyPod;
  readonly to: PolicyPod;
  readonly port?: number;
  readonly protocol?: string;
}

/** Sends through the sender's node and then, if it is another one, the receiver's. */
function world(pods: readonly PolicyPod[], policies: readonly NetworkPolicy[]): (probe: Probe) => Trace {
  const tables = new Map(nodes.map((node) => [node, compiled(pods, policies, node)]));
  return ({ from, to, port = 80, protocol = 'tcp' }) => {
    const packet = { source: ip(from), destination: ip(to), port, protocol };
    const through = (node: string): Trace =>
      tracePacket(packet, { tables: [tables.get(node) as Table], localAddresses: [nodeAddresses[node] ?? ''] });
    const first = through(from.nodeName);
    return first.end === 'dropped' || from.nodeName === to.nodeName ? first : through(to.nodeName);
  };
}

function compiled(pods: readonly PolicyPod[], policies: readonly NetworkPolicy[], nodeName: string): Table {
  return compilePolicies(input(pods, policies, nodeName));
}

function input(pods: readonly PolicyPod[], policies: readonly NetworkPolicy[], nodeName: string): PolicyInput {
  const addresses = Object.entries(nodeAddresses).map(([name, ip]) => ({ name, labels: {}, addresses: [ip] }));
  return {
    pods,
    policies,
    clusterPolicies: [],
    namespaces,
    nodes: addresses,
    nodeName,
    podCIDRs: [podCIDRs[nodeName] ?? ''],
  };
}

function fromNode(table: Table, to: PolicyPod): Trace {
  const packet = { source: '172.18.0.1', destination: ip(to), protocol: 'tcp', port: 80 };
  return tracePacket(packet, { tables: [table], localAddresses: ['172.18.0.1'], fromNode: true });
}

function pod(namespace: string, name: string, nodeName: string, host: number): PolicyPod {
  const address = `10.244.${nodeName === 'n1' ? 1 : 2}.${host}`;
  return { namespace, name, uid: `${namespace}-${name}`, labels: { pod: name }, nodeName, ips: [address], ports: [] };
}

function ip({ ips }: PolicyPod): string {
  return ips[0] ?? '';
}

function policy(namespace: string, name: string, spec: NetworkPolicySpec): NetworkPolicy {
  return { metadata: { namespace, name }, spec };
}

/** The API's words, read one by one: slow, plain, and sharing nothing with the compiler but selector matching. */
function allowed(
  policies: readonly NetworkPolicy[],
  flow: { source: PolicyPod; target: PolicyPod; port: number; protocol: string },
): boolean {
  const { source, target, port, protocol } = flow;
  const portFits = (ports: readonly NetworkPolicyPort[] | undefined): boolean =>
    ports === undefined ||
    ports.length === 0 ||
    ports.some((wanted) => {
      if ((wanted.protocol ?? 'TCP').toLowerCase() !== protocol) return false;
      if (wanted.port === undefined) return true;
      if (typeof wanted.port === 'number') return port >= wanted.port && port <= (wanted.endPort ?? wanted.port);
      return target.ports.some((own) => own.name === wanted.port && own.protocol === protocol && own.port === port);
    });
  const peerFits = (peers: readonly NetworkPolicyPeer[] | undefined, far: PolicyPod, namespace: string): boolean =>
    peers === undefined ||
    peers.length === 0 ||
    peers.some(({ ipBlock, namespaceSelector, podSelector }) => {
      if (ipBlock !== undefined) {
        const inside = containsAddress(parsePrefix(ipBlock.cidr), ip(far));
        return inside && !(ipBlock.except ?? []).some((except) => containsAddress(parsePrefix(except), ip(far)));
      }
      const space =
        namespaceSelector === undefined
          ? far.namespace === namespace
          : matchesLabelSelector(namespaceSelector, namespaces.get(far.namespace));
      return space && (podSelector === undefined || matchesLabelSelector(podSelector, far.labels));
    });
  const passes = (direction: 'ingress' | 'egress', near: PolicyPod, far: PolicyPod): boolean => {
    const mine = policies.filter(
      (one) =>
        one.metadata.namespace === near.namespace &&
        policyDirections(one).includes(direction) &&
        matchesLabelSelector(one.spec?.podSelector ?? {}, near.labels),
    );
    if (mine.length === 0) return true;
    return mine.some(({ spec }) =>
      direction === 'ingress'
        ? spec?.ingress?.some(({ from, ports }) => portFits(ports) && peerFits(from, far, near.namespace))
        : spec?.egress?.some(({ to, ports }) => portFits(ports) && peerFits(to, far, near.namespace)),
    );
  };
  return passes('egress', source, target) && passes('ingress', target, source);
}

const names = ['a', 'b', 'c'];
const ports = [79, 80, 81, 85, 90, 91];
const protocols = ['tcp', 'udp', 'sctp'];

const randomPods = fc
  .array(
    fc.record({
      namespace: fc.constantFrom(...namespaces.keys()),
      label: fc.constantFrom(...names),
      nodeName: fc.constantFrom(...nodes),
      web: fc.option(fc.constantFrom(...ports)),
      protocol: fc.constantFrom(...protocols),
    }),
    { minLength: 2, maxLength: 6 },
  )
  .map((list) =>
    list.map(({ namespace, label, nodeName, web, protocol }, index): PolicyPod => {
      const made = pod(namespace, `p${index}`, nodeName, 10 + index);
      const named = web === null ? [] : [{ name: 'web', protocol, port: web }];
      return { ...made, labels: { pod: label }, ports: named };
    }),
  );

const randomSelector: fc.Arbitrary<LabelSelector> = fc.oneof(
  fc.constant({}),
  fc.constantFrom(...names).map((name) => ({ matchLabels: { pod: name } })),
  fc
    .subarray(names, { minLength: 1 })
    .map((values) => ({ matchExpressions: [{ key: 'pod', operator: 'NotIn', values }] })),
);
const randomNamespaceSelector = fc.oneof(
  fc.constant({}),
  fc.constantFrom(...namespaces.keys()).map((name) => ({ matchLabels: { ns: name } })),
);
const randomPeer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
  fc.record({ podSelector: randomSelector }),
  fc.record({ namespaceSelector: randomNamespaceSelector }),
  fc.record({ namespaceSelector: randomNamespaceSelector, podSelector: randomSelector }),
  fc.record({
    ipBlock: fc.record({
      cidr: fc.constantFrom('0.0.0.0/0', '10.244.0.0/16', '10.244.1.0/24'),
      except: fc.subarray(['10.244.1.8/29', '10.244.1.10/32', '10.244.2.0/24', '10.244.1.0/24']),
    }),
  }),
);
const randomPort: fc.Arbitrary<NetworkPolicyPort> = fc.oneof(
  fc.record({ protocol: fc.constantFrom('TCP', 'UDP', 'SCTP') }),
  fc.record({ port: fc.constantFrom(...ports), protocol: fc.constantFrom('TCP', 'UDP', 'SCTP') }),
  fc.record({ port: fc.constant(80), endPort: fc.constantFrom(80, 85, 90) }),
  fc.record({ port: fc.constant('web'), protocol: fc.constantFrom('TCP', 'UDP', 'SCTP') }),
);
const randomRule = fc.record({
  peers: fc.option(fc.array(randomPeer, { maxLength: 2 }), { nil: undefined }),
  ports: fc.option(fc.array(randomPort, { maxLength: 3 }), { nil: undefined }),
});
const randomPolicy: fc.Arbitrary<NetworkPolicy> = fc
  .record({
    namespace: fc.constantFrom(...namespaces.keys()),
    podSelector: randomSelector,
    types: fc.option(fc.subarray<PolicyType>(['Ingress', 'Egress'], { minLength: 1 }), { nil: undefined }),
    ingress: fc.array(randomRule, { maxLength: 2 }),
    egress: fc.array(randomRule, { maxLength: 2 }),
    id: fc.nat(1e9),
  })
  .map(({ namespace, podSelector, types, ingress, egress, id }): NetworkPolicy => ({
    metadata: { namespace, name: `policy-${id}` },
    spec: {
      podSelector,
      ...(types && { policyTypes: types }),
      ingress: ingress.map(({ peers, ports }) => ({ ...(peers && { from: peers }), ...(ports && { ports }) })),
      egress: egress.map(({ peers, ports }) => ({ ...(peers && { to: peers }), ...(ports && { ports }) })),
    },
  }));
const randomProbes = fc.array(
  fc.record({
    from: fc.nat(5),
    to: fc.nat(5),
    port: fc.constantFrom(...ports),
    protocol: fc.constantFrom(...protocols),
  }),
  { minLength: 12, maxLength: 24 },
);

// SPDX-License-Identifier: Apache-2.0
/** `plumb policy lint`: policies that are valid and yet hardly do what was meant. Each finding names object, field and remedy. */
import { BlockList, isIP } from 'node:net';
import type {
  V1LabelSelector,
  V1NetworkPolicy,
  V1NetworkPolicyPeer,
  V1NetworkPolicyPort,
} from '@kubernetes/client-node';
import type { Labels, Model, ModelPod } from '../../suites/oracles/reachability/model.ts';
import { policyTypesOf } from '../../suites/oracles/reachability/network-policy-tier.ts';
import { judge } from '../../suites/oracles/reachability/oracle.ts';
import { selectorMatches } from '../../suites/oracles/reachability/selectors.ts';
import { lintClusterPolicies } from './policy-lint-cluster.ts';
import type { PolicyInput } from './policy-model.ts';

export interface Finding {
  readonly check: string;
  /** `x/deny`, or the name of a cluster policy. */
  readonly object: string;
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
  /** File and document, or the server. */
  readonly origin: string;
}

type Report = (finding: Omit<Finding, 'object' | 'origin'>) => void;

interface Side {
  readonly type: 'Ingress' | 'Egress';
  readonly rules: readonly Rule[];
}

interface Rule {
  readonly path: string;
  readonly peerField: string;
  readonly peers: readonly V1NetworkPolicyPeer[] | undefined;
  readonly ports: readonly V1NetworkPolicyPort[] | undefined;
}

export function lintPolicies(input: PolicyInput): Finding[] {
  const { policies } = input.model;
  const findings: Finding[] = [];
  for (const policy of policies) {
    const { namespace = '', name = '' } = policy.metadata ?? {};
    const document = input.policyDocuments.find((one) => one.namespace === namespace && one.name === name);
    const report: Report = (finding) =>
      findings.push({ ...finding, object: `${namespace}/${name}`, origin: document?.origin ?? '' });
    if (document?.namespaceGiven === false) {
      report({
        check: 'no-namespace',
        field: 'metadata.namespace',
        message: 'no namespace is given, so the policy lands wherever it is applied',
        remedy: 'Name the namespace.',
      });
    }
    lintTypes(policy, report);
    lintTarget(policy, input, report);
    for (const side of sidesOf(policy)) {
      lintShadowed(side, report);
      for (const rule of side.rules) lintRule(rule, { policy, side, input, report });
    }
    lintDns(policy, input.model, report);
    lintTwins(policy, policies, report);
  }
  return [...findings, ...lintClusterPolicies(input)];
}

function lintTypes(policy: V1NetworkPolicy, report: Report): void {
  const { policyTypes, ingress, egress } = policy.spec ?? {};
  const field = 'spec.policyTypes';
  if (policyTypes === undefined || policyTypes.length === 0) {
    const taken = policyTypesOf(policy).join(' and ');
    const hint = egress === undefined ? '' : ', so what is meant for egress alone isolates ingress as well';
    const message = `policyTypes is missing; ${taken} is taken${hint}`;
    report({
      check: 'missing-policy-types',
      field,
      message,
      remedy: `Write policyTypes: [${taken.replace(' and ', ', ')}].`,
    });
    return;
  }
  for (const [type, rules] of [
    ['Ingress', ingress],
    ['Egress', egress],
  ] as const) {
    if (rules === undefined || rules.length === 0 || policyTypes.includes(type)) continue;
    const message = `there are ${type.toLowerCase()} rules, but policyTypes has no ${type}: they are without effect`;
    report({ check: 'rules-without-type', field, message, remedy: `Add ${type} to policyTypes.` });
  }
}

function lintTarget(policy: V1NetworkPolicy, { model, knownNamespaces }: PolicyInput, report: Report): void {
  const namespace = policy.metadata?.namespace ?? '';
  if (knownNamespaces.size > 0 && !knownNamespaces.has(namespace)) {
    const known = [...knownNamespaces].join(', ');
    report({
      check: 'unknown-namespace',
      field: 'metadata.namespace',
      message: `there is no namespace ${namespace}`,
      remedy: `Namespaces: ${known}.`,
    });
    return;
  }
  if (model.pods.length === 0) return;
  const selected = targetsOf(policy, model);
  const field = 'spec.podSelector';
  if (selected.length === 0) {
    const message = `no pod of ${namespace} has these labels, so the policy holds for nobody`;
    const near = nearbyLabels(
      policy.spec?.podSelector ?? {},
      model.pods.filter((pod) => pod.namespace === namespace).map(({ labels }) => labels),
    );
    report({ check: 'selector-matches-nothing', field, message, remedy: near });
  } else if (selected.every(({ hostNetwork }) => hostNetwork === true)) {
    const message = 'it selects only pods of the host network, for which no policy holds';
    report({ check: 'host-network-target', field, message, remedy: 'Use the firewall of the node for them.' });
  }
}

interface RuleContext {
  readonly policy: V1NetworkPolicy;
  readonly side: Side;
  readonly input: PolicyInput;
  readonly report: Report;
}

function lintRule(rule: Rule, context: RuleContext): void {
  const { report } = context;
  for (const [field, list, whom] of [
    [rule.peerField, rule.peers, 'everybody'],
    ['ports', rule.ports, 'every port'],
  ] as const) {
    if (list?.length !== 0) continue;
    const message = `an empty list lets through ${whom}, not nothing`;
    report({
      check: 'empty-list',
      field: `${rule.path}.${field}`,
      message,
      remedy: 'Leave the rule out to deny, or the field out to allow.',
    });
  }
  for (const [index, peer] of (rule.peers ?? []).entries())
    lintPeer(peer, `${rule.path}.${rule.peerField}[${index}]`, context);
  for (const [index, port] of (rule.ports ?? []).entries())
    lintPort(port, `${rule.path}.ports[${index}]`, { ...context, rule });
}

function lintPeer(peer: V1NetworkPolicyPeer, path: string, { policy, input, report }: RuleContext): void {
  const { model, knownNamespaces } = input;
  const { ipBlock, namespaceSelector, podSelector } = peer;
  if (ipBlock !== undefined) {
    for (const [index, except] of (ipBlock.except ?? []).entries()) {
      if (within(ipBlock.cidr, except)) continue;
      const message = `${except} is not inside ${ipBlock.cidr}, so it excepts nothing`;
      report({
        check: 'except-outside-cidr',
        field: `${path}.ipBlock.except[${index}]`,
        message,
        remedy: 'Name a part of the block.',
      });
    }
    const service = model.services?.find(({ clusterIPs }) =>
      clusterIPs.some((ip) => `${ip}/${isIP(ip) === 4 ? 32 : 128}` === ipBlock.cidr),
    );
    if (service !== undefined) {
      const message = `${ipBlock.cidr} is the ClusterIP of Service ${service.namespace}/${service.name}; policies see the endpoint's address`;
      report({
        check: 'block-of-service',
        field: `${path}.ipBlock.cidr`,
        message,
        remedy: 'Select the pods behind the Service.',
      });
    }
    return;
  }
  // Without objects of namespaces nothing is known of their labels.
  if (namespaceSelector !== undefined && knownNamespaces.size > 0) {
    const matching = [...model.namespaces.values()].some((labels) => selectorMatches(namespaceSelector, labels));
    if (!matching) {
      const remedy = nearbyLabels(namespaceSelector, [...model.namespaces.values()]);
      report({
        check: 'no-such-namespace-label',
        field: `${path}.namespaceSelector`,
        message: 'no namespace has these labels',
        remedy,
      });
      return;
    }
  }
  if (podSelector === undefined || model.pods.length === 0) return;
  if (namespaceSelector !== undefined && knownNamespaces.size === 0) return;
  const pods = peerPods(peer, policy, model);
  if (pods.length > 0) return;
  const elsewhere = model.pods.filter(({ labels }) => selectorMatches(podSelector, labels));
  const remedy =
    namespaceSelector === undefined && elsewhere.length > 0
      ? `Such pods are in ${[...new Set(elsewhere.map(({ namespace }) => namespace))].join(', ')}: add a namespaceSelector to the same peer.`
      : nearbyLabels(
          podSelector,
          model.pods.map(({ labels }) => labels),
        );
  report({
    check: 'selector-matches-nothing',
    field: `${path}.podSelector`,
    message: 'no pod that the peer could mean has these labels',
    remedy,
  });
}

function lintPort(
  { protocol = 'TCP', port, endPort }: V1NetworkPolicyPort,
  path: string,
  { policy, side, input, report, rule }: RuleContext & { readonly rule: Rule },
): void {
  const isName = typeof port === 'string' && !/^\d+$/.test(port);
  if (endPort !== undefined) {
    const field = `${path}.endPort`;
    if (port === undefined || isName) {
      report({
        check: 'end-port-without-number',
        field,
        message: 'endPort needs a number in port',
        remedy: 'Write the first port of the range into port.',
      });
    } else if (endPort < Number(port)) {
      const message = `${endPort} is less than port ${port}, so no port matches`;
      report({ check: 'end-port-below-port', field, message, remedy: `Write port: ${endPort}, endPort: ${port}.` });
    }
  }
  if (!isName || input.model.pods.length === 0) return;
  const { model } = input;
  const destinations =
    side.type === 'Ingress'
      ? targetsOf(policy, model)
      : (rule.peers ?? []).length === 0
        ? model.pods
        : (rule.peers ?? []).flatMap((peer) => peerPods(peer, policy, model));
  if (
    destinations.length === 0 ||
    destinations.some(({ namedPorts }) => `${protocol.toLowerCase()}/${port}` in namedPorts)
  )
    return;
  const names = [...new Set(destinations.flatMap(({ namedPorts }) => Object.keys(namedPorts)))];
  report({
    check: 'port-name-nobody-serves',
    field: `${path}.port`,
    message: `no container of the destination pods calls a ${protocol} port ${port}`,
    remedy: names.length > 0 ? `Names there: ${names.join(', ')}.` : 'They have no named ports; write the number.',
  });
}

/** One rule that lets through all that another does makes the other needless; where both are equal the later one is named. */
function lintShadowed({ rules }: Side, report: Report): void {
  for (const [index, rule] of rules.entries()) {
    const by = rules.find((other, at) => at !== index && covers(other, rule) && (at < index || !covers(rule, other)));
    if (by === undefined) continue;
    const same = covers(rule, by);
    const message = same ? `is the same as ${by.path}` : `lets through nothing that ${by.path} does not`;
    report({
      check: same ? 'duplicate-rule' : 'shadowed-rule',
      field: rule.path,
      message,
      remedy: 'Remove it, or narrow the other.',
    });
  }
}

function covers(wide: Rule, narrow: Rule): boolean {
  const within = (all: readonly object[] = [], some: readonly object[] = []): boolean => {
    if (all.length === 0) return true;
    const known = new Set(all.map((one) => JSON.stringify(one)));
    return some.length > 0 && some.every((one) => known.has(JSON.stringify(one)));
  };
  return within(wide.peers, narrow.peers) && within(wide.ports, narrow.ports);
}

/** Egress rules name what the application needs, and the names it needs to find it are forgotten. */
function lintDns(policy: V1NetworkPolicy, model: Model, report: Report): void {
  if (!policyTypesOf(policy).includes('Egress') || (policy.spec?.egress ?? []).length === 0) return;
  const namespace = policy.metadata?.namespace ?? '';
  const { podSelector = {} } = policy.spec ?? {};
  const standIn: ModelPod = {
    namespace,
    name: 'any pod it selects',
    labels: exampleLabels(podSelector),
    addresses: ['10.244.255.1'],
    node: '',
    namedPorts: {},
  };
  const subjects = targetsOf(policy, model).filter(({ hostNetwork }) => hostNetwork !== true);
  const servers = model.pods.filter(
    ({ namespace: space, labels }) => space === 'kube-system' && labels['k8s-app'] === 'kube-dns',
  );
  const server: ModelPod = {
    namespace: 'kube-system',
    name: 'kube-dns',
    labels: { 'k8s-app': 'kube-dns' },
    addresses: ['10.244.255.2'],
    node: '',
    namedPorts: { 'udp/dns': 53, 'tcp/dns-tcp': 53 },
  };
  const namespaces = new Map([
    ['kube-system', { 'kubernetes.io/metadata.name': 'kube-system' }],
    ...model.namespaces,
  ] as const);
  const reaches = (source: ModelPod, destination: ModelPod): boolean => {
    const ports = Object.entries(destination.namedPorts).flatMap(([name, port]) =>
      name.startsWith('udp/dns') ? [port] : [],
    );
    return [53, ...ports].some(
      (port) => judge({ ...model, namespaces }, { source, destination, protocol: 'udp', port }).egress.allowed,
    );
  };
  const stuck = (subjects.length > 0 ? subjects : [standIn]).find(
    (source) => !(servers.length > 0 ? servers : [server]).some((destination) => reaches(source, destination)),
  );
  if (stuck === undefined) return;
  report({
    check: 'dns-forgotten',
    field: 'spec.egress',
    message: `${stuck === standIn ? stuck.name : `${stuck.namespace}/${stuck.name}`} may not send to cluster DNS on 53/udp, so no name resolves`,
    remedy: 'Add a rule to kube-system, pods k8s-app=kube-dns, ports 53 of UDP and TCP.',
  });
}

function lintTwins(policy: V1NetworkPolicy, all: readonly V1NetworkPolicy[], report: Report): void {
  const { namespace, name } = policy.metadata ?? {};
  for (const other of all.slice(0, all.indexOf(policy))) {
    if (other.metadata?.namespace !== namespace) continue;
    if (other.metadata?.name === name) {
      const message = 'there are two policies of this name; whichever is applied last remains';
      report({ check: 'duplicate-name', field: 'metadata.name', message, remedy: 'Rename one.' });
    } else if (JSON.stringify(other.spec) === JSON.stringify(policy.spec)) {
      const message = `says the same as ${namespace}/${other.metadata?.name}`;
      report({ check: 'duplicate-policy', field: 'spec', message, remedy: 'Remove one of them.' });
    }
  }
}

function sidesOf({ spec }: V1NetworkPolicy): Side[] {
  return [
    {
      type: 'Ingress',
      rules: (spec?.ingress ?? []).map(({ _from, ports }, index) => ({
        path: `spec.ingress[${index}]`,
        peerField: 'from',
        peers: _from,
        ports,
      })),
    },
    {
      type: 'Egress',
      rules: (spec?.egress ?? []).map(({ to, ports }, index) => ({
        path: `spec.egress[${index}]`,
        peerField: 'to',
        peers: to,
        ports,
      })),
    },
  ];
}

function targetsOf(policy: V1NetworkPolicy, { pods }: Model): ModelPod[] {
  return pods.filter(
    ({ namespace, labels }) =>
      namespace === policy.metadata?.namespace && selectorMatches(policy.spec?.podSelector ?? {}, labels),
  );
}

function peerPods(
  { namespaceSelector, podSelector }: V1NetworkPolicyPeer,
  policy: V1NetworkPolicy,
  model: Model,
): ModelPod[] {
  return model.pods.filter(
    ({ namespace, labels }) =>
      (namespaceSelector === undefined
        ? namespace === policy.metadata?.namespace
        : selectorMatches(namespaceSelector, model.namespaces.get(namespace) ?? {})) &&
      selectorMatches(podSelector ?? {}, labels),
  );
}

/** What the label keys of a selector have for values in truth: most selectors that match nothing are misspelt. */
function nearbyLabels(
  { matchLabels = {}, matchExpressions = [] }: V1LabelSelector,
  present: readonly Labels[],
): string {
  const keys = [...Object.keys(matchLabels), ...matchExpressions.map(({ key }) => key)];
  const found = keys.flatMap((key) => {
    const values = [...new Set(present.flatMap((labels) => labels[key] ?? []))];
    return values.length > 0 ? [`${key} is ${values.slice(0, 5).join(', ')} there`] : [`nobody there has ${key}`];
  });
  return found.length > 0 ? `Correct the labels: ${found.join('; ')}.` : 'Nothing is there at all.';
}

function exampleLabels({ matchLabels = {}, matchExpressions = [] }: V1LabelSelector): Labels {
  const wanted = matchExpressions.filter(({ operator }) => operator === 'In' || operator === 'Exists');
  return { ...matchLabels, ...Object.fromEntries(wanted.map(({ key, values }) => [key, values?.[0] ?? 'any'])) };
}

function within(outer: string, inner: string): boolean {
  const [base = '', prefix = ''] = outer.split('/');
  const [address = '', innerPrefix = ''] = inner.split('/');
  if (isIP(base) !== isIP(address) || Number(innerPrefix) < Number(prefix)) return false;
  const family = isIP(base) === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(base, Number(prefix), family);
  return list.check(address, family);
}

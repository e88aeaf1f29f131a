// SPDX-License-Identifier: Apache-2.0
/** Findings of the nodes' states in the words of diagnoses. Pure. */
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { ownerOf, type RuleOwner } from '../../probes/trace/rule-owner.ts';
import type { Finding } from '../../suites/network/findings/finding.ts';
import type { Diagnosis } from './diagnosis.ts';
import type { PingSeen } from './node-links.ts';

const components: Readonly<Record<Finding['component'], string>> = {
  'kube-proxy': 'kube-proxy',
  'network plugin': 'network',
  kernel: 'node',
  node: 'network',
  API: 'service',
};

/** By what a finding is about; the first that fits holds. */
const reasonsByAbout: readonly { readonly pattern: RegExp; readonly reason: string; readonly component?: string }[] = [
  { pattern: /^stale/, reason: 'stale-endpoint' },
  { pattern: /^(none|missing \S+:\d+|extra|probability|passed on|stranger)/, reason: 'not-programmed' },
  { pattern: /^(missing|no-default-route)/, reason: 'no-route' },
  { pattern: /^refused/, reason: 'no-route' },
  { pattern: /^(wrong-node|rivals|local)/, reason: 'wrong-route' },
  { pattern: /^down/, reason: 'link-down' },
  { pattern: /^tunnel/, reason: 'tunnel' },
  { pattern: /^mtu/, reason: 'mtu' },
  { pattern: /^silent/, reason: 'neighbour-missing' },
  { pattern: /^impostor/, reason: 'neighbour-wrong' },
  { pattern: /^(duplicate|taken)/, reason: 'duplicate-address' },
  { pattern: /^lost/, reason: 'no-route' },
  { pattern: /^rp_filter/, reason: 'reverse-path' },
  { pattern: /^conntrack$/, reason: 'conntrack-full' },
  { pattern: /^conntrack /, reason: 'conntrack-clash' },
  { pattern: /forward/, reason: 'forwarding-off' },
  { pattern: /^neighbours/, reason: 'neighbour-missing' },
  { pattern: /^clock/, reason: 'clock-skew', component: 'node' },
  { pattern: /^cni/, reason: 'cni' },
  { pattern: /^counters/, reason: 'loss', component: 'link' },
];

/** Findings that matter less than what packets show: they may be without effect. */
const mild = new Set(['clock-skew', 'loss', 'not-programmed', 'foreign-firewall']);

/** Where two have one address, routing daemons lose each other, and routes go. */
const causes = new Set(['duplicate-address']);

function weightOf(reason: string): number {
  if (mild.has(reason)) return 72;
  return causes.has(reason) ? 85 : 84;
}

/** Nodes are looked at between two readings of the API: what agrees with the later one was on its way. */
export function lasting(before: readonly Finding[], after: readonly Finding[]): Finding[] {
  const keys = new Set(after.map(({ key }) => key));
  return before.filter(({ key }) => keys.has(key));
}

/**
 * What the states of the nodes show. Two nodes that send packets for a third one to each other have one fault, and a node that several others
 * get no answer from has it itself.
 */
export function nodeDiagnoses(findings: readonly Finding[], pings: readonly PingSeen[]): Diagnosis[] {
  const told = findings
    .filter((finding) => !isStrangersAffair(finding) && !isOverBy(finding, pings))
    .map((finding) => ({ ...finding, ...aside(finding) }));
  const loops = told.filter(({ sentTo, goal, node }) =>
    told.some((other) => sentTo !== undefined && other.node === sentTo && other.sentTo === node && other.goal === goal),
  );
  const complaints = Map.groupBy(
    told.filter(({ key }) => key.endsWith('|silent')),
    ({ object }) => object,
  );
  const silent = [...complaints.values()].filter(
    (found) => found.length > 1 && found[0]?.object.startsWith('node ') === true,
  );
  const unannounced = [
    ...Map.groupBy(
      told.filter(({ key, component }) => component === 'network plugin' && aboutOf(key).startsWith('missing ')),
      ({ goal = '' }) => goal,
    ),
  ].filter(([goal, found]) => goal !== '' && new Set(found.map(({ node }) => node)).size > 1);
  const merged = new Set<Finding>([...loops, ...silent.flat(), ...unannounced.flatMap(([, found]) => found)]);
  return [
    ...told.filter((finding) => !merged.has(finding)).map(nodeDiagnosis),
    ...[...Map.groupBy(loops, ({ goal, node, sentTo = '' }) => [goal, ...[node, sentTo].toSorted()].join(' '))].map(
      ([, found]) => loopDiagnosis(found),
    ),
    ...silent.map(silentDiagnosis),
    ...unannounced.map(([goal, found]) => unannouncedDiagnosis(goal, found)),
  ];
}

function aboutOf(key: string): string {
  return key.split('|').slice(3).join('|');
}

/** Where several nodes lack the routes to the pods of one, it is that one of which nobody is told. */
function unannouncedDiagnosis(name: string, found: readonly Finding[]): Diagnosis {
  const nodes = [...new Set(found.map(({ node }) => node))];
  return {
    reason: 'no-route',
    component: 'network',
    node: name,
    objects: [name, ...nodes].map((one) => `Node ${one}`),
    summary: `${nodes.join(' and ')} have no route to the pods of ${name}.`,
    evidence: found.flatMap(({ node, proof }) => proof.map((line) => `${node}: ${line}`)),
    next: `Look at what announces the pods of ${name}: its routing daemon (BIRD: birdc show protocols) or network plugin, and its log.`,
    weight: 84,
  };
}

function silentDiagnosis(found: readonly Finding[]): Diagnosis {
  const name = found[0]?.object.replace('node ', '') ?? '';
  return {
    reason: 'neighbour-missing',
    component: 'network',
    node: name,
    objects: [`Node ${name}`],
    summary: `Node ${name} answers none of ${found.map(({ node }) => node).join(', ')} when they ask for its link-layer address.`,
    evidence: found.flatMap(({ node, proof }) => proof.map((line) => `${node}: ${line}`)),
    next: `Look at ${name} itself, from its console: is its interface up, does it answer ARP (ip link show; NOARP), has it its address?`,
    weight: 85,
  };
}

/** A neighbour that did not answer once is remembered for a while; one that answers pings has come back. */
function isOverBy({ key, node, object }: Finding, pings: readonly PingSeen[]): boolean {
  return (
    key.endsWith('|silent') &&
    pings.some(({ from, to, received }) => from === node && object === `node ${to}` && received > 0)
  );
}

/** A rule of a third party ends the packet. Whom it lets in from outside is its author's affair; that pods and nodes pass is asked by probes. */
function isStrangersAffair(finding: Finding): boolean {
  return endingRule(finding) === 'foreign' && !aboutOf(finding.key).startsWith('none ClusterIP');
}

/** Whose rule it is by which all packets to a Service end. */
function endingRule({ component, proof }: Finding): RuleOwner | undefined {
  const [end = '', ...more] = proof;
  const match = /^(?:dropped|rejected) by (?:nft (\S+ \S+)|(\S+ \S+)) (\S+)(?: handle \d+)?: (.*)$/.exec(end);
  if (component !== 'kube-proxy' || match === null || more.some((line) => line.startsWith('forwarded')))
    return undefined;
  const [, nftTable, otherTable, chain = '', rule = ''] = match;
  return ownerOf({ table: nftTable ?? otherTable ?? '', chain, rule });
}

/** For whom packets are, and which other node they are sent to instead, if to any. */
function aside({ key, proof }: Finding): { readonly goal?: string; readonly sentTo?: string } {
  const [kind, goal] = aboutOf(key).split(' ');
  if ((kind !== 'wrong-node' && kind !== 'missing') || goal === undefined) return {};
  const sentTo = proof.map((line) => /^\S+ is (\S+)$/.exec(line)?.[1]).find((one) => one !== undefined && one !== goal);
  return { goal, ...(sentTo === undefined ? {} : { sentTo }) };
}

function loopDiagnosis(found: readonly (Finding & { readonly goal?: string; readonly sentTo?: string })[]): Diagnosis {
  const nodes = [...new Set(found.map(({ node }) => node))];
  return {
    reason: 'routing-loop',
    component: 'network',
    ...(nodes[0] === undefined ? {} : { node: nodes[0] }),
    objects: nodes.map((name) => `Node ${name}`),
    summary: `${nodes.join(' and ')} send packets for pods of ${found[0]?.goal} to each other.`,
    evidence: found.flatMap(({ proof }) => proof),
    next: `Look at the routes to the pods of ${found[0]?.goal} on ${nodes.join(' and ')}, and who wrote them (ip route show; proto names the writer).`,
    weight: 85,
  };
}

function nodeDiagnosis(finding: Finding): Diagnosis {
  const { key, component, node, object, what, proof, remedy } = finding;
  const about = aboutOf(key);
  const match = reasonsByAbout.find(({ pattern }) => pattern.test(about));
  const foreign = endingRule(finding) === 'foreign';
  const reason = foreign ? 'foreign-firewall' : (match?.reason ?? about.split(' ')[0] ?? 'unknown');
  return {
    reason,
    component: foreign ? 'firewall' : (match?.component ?? components[component]),
    ...(node === '' ? {} : { node }),
    objects: [...objectsIn(object), ...objectsIn(what), ...(node === '' ? [] : [`Node ${node}`])].filter(
      (one, index, all) => all.indexOf(one) === index,
    ),
    summary: `${node === '' ? '' : `${node}: `}${object}: ${what}`,
    evidence: proof,
    next: remedy,
    weight: weightOf(reason),
  };
}

function objectsIn(text: string): string[] {
  const namespaced = [...text.matchAll(/\b(Service|pod|EndpointSlice) ([a-z0-9][a-z0-9.-]*\/[a-z0-9][a-z0-9.-]*)/g)];
  const nodes = [...text.matchAll(/(?:^|\b(?:of|to|on|from) )node ([a-z0-9][a-z0-9.-]*)/g)];
  return [
    ...namespaced.map(([, kind = '', name = '']) => `${kind.charAt(0).toUpperCase()}${kind.slice(1)} ${name}`),
    ...nodes.map(([, name = '']) => `Node ${name}`),
  ];
}

/** A program that runs on most nodes and not on one. Only programs whose work every node needs. */
export function missingPrograms(states: readonly NodeState[]): Diagnosis[] {
  const wanted: readonly { readonly program: string; readonly component: string }[] = [
    { program: 'kube-proxy', component: 'kube-proxy' },
    { program: 'kubelet', component: 'kubelet' },
  ];
  return wanted.flatMap(({ program, component }) => {
    const without = states.filter(({ programs }) => programs.length > 0 && !programs.includes(program));
    if (without.length === 0 || without.length * 2 > states.length) return [];
    return without.map(({ node }): Diagnosis => ({
      reason: 'component-down',
      component,
      node,
      objects: [`Node ${node}`],
      summary: `${program} does not run on ${node}, while it does on the other nodes.`,
      evidence: states.map((state) => `${state.node}: ${state.programs.includes(program) ? 'runs' : 'does not run'}`),
      next: `Start ${program} on ${node}, and read in its log why it ended.`,
      weight: 86,
    }));
  });
}

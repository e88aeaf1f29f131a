// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a node's rules for Services do what the API says. The rules are not compared with rules of ours: virtual packets are sent
 * through them, whoever wrote them, and what becomes of the packets is compared. What the kernel holds in eBPF cannot be seen.
 */
import type { V1Node } from '@kubernetes/client-node';
import type { NodeState } from '../../../probes/node-state/node-state.ts';
import { inRange, parseRange } from '../../../probes/node-state/rules/addresses.ts';
import {
  evaluatePacket,
  prepareRules,
  type NodeRules,
  type Outcome,
} from '../../../probes/node-state/rules/evaluate.ts';
import { serviceEntries, type RuleEntry } from '../../../probes/node-state/rules/service-entries.ts';
import { expectedEntries, type ExpectedEntry } from './expected-services.ts';
import { finding, type ApiObjects, type Finding } from './finding.ts';

/** Where packets to a Service come from: a documentation address stands for a client outside of the cluster. */
const outside = { 4: '198.51.100.23', 6: '2001:db8:51::23' } as const;

/** By how much of its share an endpoint's probability may be off; iptables rounds. */
const shareTolerance = 0.05;

export function serviceFindings(state: NodeState, api: ApiObjects): Finding[] {
  const node = api.nodes.find(({ metadata }) => metadata?.name === state.node);
  const entries = serviceEntries(state);
  if (node === undefined || entries.kind === 'none') return [];
  const rules = prepareRules(state);
  const expected = expectedEntries(api, node);
  return [
    ...expected.flatMap((entry) => entryFindings(entry, { state, api, node, rules })),
    ...strangers(entries.entries, { state, rules, expected, node }),
  ];
}

interface Place {
  readonly state: NodeState;
  readonly api: ApiObjects;
  readonly node: V1Node;
  readonly rules: NodeRules;
}

interface Viewpoint {
  readonly source: string;
  readonly fromNode: boolean;
  readonly inDevice: string | undefined;
  /** Put behind what was found; empty for the ordinary client. */
  readonly words: string;
}

/** The first is the ordinary client; the others are asked only whether they are served alike. */
function viewpoints(entry: ExpectedEntry, place: Place, family: 4 | 6): Viewpoint[] {
  if (entry.kind !== 'ClusterIP')
    return [{ source: admitted(entry, family), fromNode: false, inDevice: uplinkOf(place.rules, family), words: '' }];
  const pod = podAddress(place, family);
  const own = nodeAddress(place.node, family);
  return [
    ...(pod === undefined ? [] : [{ source: pod, fromNode: false, inDevice: undefined, words: '' }]),
    ...(own === undefined
      ? []
      : [{ source: own, fromNode: true, inDevice: undefined, words: ', for processes of the node itself' }]),
  ];
}

function entryFindings(entry: ExpectedEntry, place: Place): Finding[] {
  const family = entry.address.includes(':') ? 6 : 4;
  const found = new Map<string, Finding>();
  for (const viewpoint of viewpoints(entry, place, family))
    for (const one of viewFindings(entry, viewpoint, place)) if (!found.has(one.key)) found.set(one.key, one);
  return [...found.values()];
}

function viewFindings(entry: ExpectedEntry, { source, fromNode, inDevice, words }: Viewpoint, place: Place): Finding[] {
  const { state, rules } = place;
  const packet = { destination: entry.address, protocol: entry.protocol, port: entry.number };
  const evaluate = (from: string): Outcome[] =>
    evaluatePacket(rules, { ...packet, source: from }, { fromNode, ...(inDevice && { inDevice }) });
  const outcomes = evaluate(source);
  const doubts = [...new Set(outcomes.flatMap((one) => one.doubts))];
  // An answer that rests on rules that were not understood is none.
  if (outcomes.length === 0 || (doubts.length > 0 && outcomes.every(({ path }) => path.length === 0))) return [];

  const report: Report = (about, what, proof) =>
    finding({
      about: `${about} ${entry.kind} ${entry.address}`,
      component: 'kube-proxy',
      node: state.node,
      object: `Service ${entry.service} port ${entry.port}`,
      what: `${entry.kind} ${bracketed(entry.address)}:${entry.number}/${entry.protocol}: ${what}${words}`,
      proof: [...proof, ...doubts.map((doubt) => `not understood: ${doubt}`)],
      remedy: `Look whether kube-proxy (or what stands in for it) runs on ${state.node} and at its log; it writes all rules anew when it is started again.`,
    });

  const shares = sharesOf(outcomes);
  if (entry.endpoints.length === 0) return emptyFindings(entry, { outcomes, shares, report });
  const missing = entry.endpoints.filter((endpoint) => !shares.has(endpoint));
  if (shares.size === 0) {
    const ended = outcomes.map((one) => `${one.end} ${one.by === undefined ? 'by no rule' : `by ${ruleLine(one)}`}`);
    const some = entry.endpoints.slice(0, 5).join(', ');
    return [
      report('none', `leads nowhere; the API has ${entry.endpoints.length} endpoint(s): ${some}`, [...new Set(ended)]),
    ];
  }
  const found = missing.map((endpoint) =>
    report(`missing ${endpoint}`, `never leads to ${endpoint}, which is an endpoint to choose`, linesOf(shares)),
  );
  for (const [target, { rule, probability }] of shares) {
    if (!entry.endpoints.includes(target)) {
      const reason = entry.known.get(target);
      const why = reason === undefined ? 'which the API does not have as an endpoint' : `although ${reason}`;
      const what = `leads to ${target} with probability ${rounded(probability)}, ${why}`;
      found.push(report(`${reason === undefined ? 'stale' : 'extra'} ${target}`, what, rule));
      continue;
    }
    const share = 1 / entry.endpoints.length;
    const isWhole = missing.length === 0 && shares.size === entry.endpoints.length;
    if (isWhole && Math.abs(probability - share) > share * shareTolerance) {
      const what = `chooses ${target} with probability ${rounded(probability)} instead of ${rounded(share)}`;
      found.push(report(`probability ${target}`, what, rule));
    }
  }
  if (entry.kind !== 'ClusterIP') found.push(...sourceFindings(entry, outcomes, report));
  else if (!fromNode) found.push(...hairpinFindings(entry, evaluate, report));
  if (entry.sourceRanges.length > 0)
    found.push(...rangeFindings(entry, { ...place, family: entry.address.includes(':') ? 6 : 4, inDevice, report }));
  return found;
}

/** Nothing to choose: the packet must be refused or dropped, and not be sent somewhere else. */
function emptyFindings(
  entry: ExpectedEntry,
  {
    outcomes,
    shares,
    report,
  }: { readonly outcomes: readonly Outcome[]; readonly shares: ReadonlyMap<string, Share>; readonly report: Report },
): Finding[] {
  const passed = shares.size > 0 ? undefined : outcomes.find(({ end }) => end === 'forwarded');
  return [
    ...[...shares].map(([target, { rule }]) => {
      const reason = entry.known.get(target);
      const what = `leads to ${target}, but the API has no endpoint to choose${reason === undefined ? '' : ` (${reason})`}`;
      return report(`extra ${target}`, what, rule);
    }),
    ...(passed === undefined
      ? []
      : [
          report(
            'passed on',
            `has no endpoint to choose and is not refused, but sent out of ${passed.device} as it is`,
            [ruleLine(passed)],
          ),
        ]),
  ];
}

/** A pod that reaches itself through its Service must not see its own address, or it answers without the way back. */
function hairpinFindings(entry: ExpectedEntry, evaluate: (source: string) => Outcome[], report: Report): Finding[] {
  const own = entry.endpoints.filter((endpoint) => entry.onNode.has(endpoint)).slice(0, 4);
  return own.flatMap((endpoint) => {
    const source = endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');
    return evaluate(source)
      .filter(
        (one) =>
          one.end === 'forwarded' && one.doubts.length === 0 && targetOf(one) === endpoint && one.source === source,
      )
      .slice(0, 1)
      .map((one) =>
        report(
          `hairpin ${endpoint}`,
          `lets ${source} reach itself under its own address, so that its answers do not come back`,
          [ruleLine(one)],
        ),
      );
  });
}

type Report = (about: string, what: string, proof: readonly string[]) => Finding;

/** Answers must come back the way they went: through this node, unless the endpoint is on it. */
function sourceFindings(entry: ExpectedEntry, outcomes: readonly Outcome[], report: Report): Finding[] {
  return outcomes.flatMap((outcome) => {
    if (outcome.end !== 'forwarded' || outcome.doubts.length > 0) return [];
    const target = targetOf(outcome);
    const isReplaced = outcome.source === 'node';
    if (entry.local && isReplaced)
      return [
        report(`source ${target}`, `hides the client’s address from ${target}, although the traffic policy is Local`, [
          ruleLine(outcome),
        ]),
      ];
    if (!entry.local && !isReplaced && entry.endpoints.includes(target) && !entry.onNode.has(target))
      return [
        report(
          `source ${target}`,
          `sends to ${target} on another node with the client’s own address, so that answers do not come back`,
          [ruleLine(outcome)],
        ),
      ];
    return [];
  });
}

function rangeFindings(
  entry: ExpectedEntry,
  {
    rules,
    family,
    inDevice,
    report,
  }: Place & { readonly family: 4 | 6; readonly inDevice: string | undefined; readonly report: Report },
): Finding[] {
  const ranges = entry.sourceRanges.flatMap((text) => parseRange(text) ?? []);
  const source = [outside[family], family === 4 ? '203.0.113.77' : '2001:db8:cafe::77'].find(
    (address) => !ranges.some((range) => inRange(address, range)),
  );
  if (source === undefined) return [];
  const outcomes = evaluatePacket(
    rules,
    { source, destination: entry.address, protocol: entry.protocol, port: entry.number },
    inDevice === undefined ? {} : { inDevice },
  );
  return outcomes
    .filter(({ end }) => end === 'forwarded' || end === 'local')
    .slice(0, 1)
    .map((outcome) =>
      report('range', `admits ${source}, which loadBalancerSourceRanges (${entry.sourceRanges.join(', ')}) does not`, [
        ruleLine(outcome),
      ]),
    );
}

/** Rules for addresses and ports that no Service has. */
function strangers(
  entries: readonly RuleEntry[],
  { state, rules, expected, node }: Omit<Place, 'api'> & { readonly expected: readonly ExpectedEntry[] },
): Finding[] {
  const known = new Set(expected.map((one) => `${one.address} ${one.protocol} ${one.number}`));
  const knownPorts = new Set(
    expected.filter(({ kind }) => kind === 'NodePort').map((one) => `${one.protocol} ${one.number}`),
  );
  return entries.flatMap((entry) => {
    const isKnown =
      entry.address === undefined
        ? knownPorts.has(`${entry.protocol} ${entry.port}`)
        : known.has(`${entry.address} ${entry.protocol} ${entry.port}`) ||
          // A NodePort may be written for each address of the node.
          (rules.routes.isLocal(entry.address) && knownPorts.has(`${entry.protocol} ${entry.port}`));
    if (isKnown) return [];
    const address = entry.address ?? nodeAddress(node, entry.family);
    if (address === undefined) return [];
    const family = address.includes(':') ? 6 : 4;
    const inDevice = uplinkOf(rules, family);
    const outcomes = evaluatePacket(
      rules,
      { source: outside[family], destination: address, protocol: entry.protocol, port: entry.port },
      inDevice === undefined ? {} : { inDevice },
    ).filter((outcome) => isTranslated(outcome));
    if (outcomes.length === 0) return [];
    return [
      finding({
        about: 'stranger',
        component: 'kube-proxy',
        node: state.node,
        object: `rule for ${entry.address === undefined ? 'node port' : bracketed(entry.address)}${entry.address === undefined ? ' ' : ':'}${entry.port}/${entry.protocol}`,
        what: `leads to ${[...new Set(outcomes.map(targetOf))].slice(0, 5).join(', ')}, but no Service has this ${entry.address === undefined ? 'node port' : 'address and port'}`,
        proof: [entry.text, ...new Set(outcomes.map(ruleLine))].slice(0, 6),
        remedy: `A leftover of a Service that is gone, or of another proxy. Start kube-proxy on ${state.node} again; if the rule stays, find out who writes it.`,
      }),
    ];
  });
}

interface Share {
  readonly probability: number;
  readonly rule: readonly string[];
}

/** What is chosen by translation, with its probability. */
function sharesOf(outcomes: readonly Outcome[]): Map<string, Share> {
  const shares = new Map<string, Share>();
  for (const outcome of outcomes) {
    if (!isTranslated(outcome)) continue;
    const target = targetOf(outcome);
    const before = shares.get(target);
    shares.set(target, {
      probability: (before?.probability ?? 0) + outcome.probability,
      rule: [...new Set([...(before?.rule ?? []), ruleLine(outcome)])].slice(0, 3),
    });
  }
  return shares;
}

function isTranslated(outcome: Outcome): boolean {
  return translationOf(outcome) !== undefined;
}

function translationOf({ path }: Outcome): Outcome['path'][number] | undefined {
  return path.findLast(({ did }) => did.startsWith('dnat to') || did.startsWith('redirect to'));
}

function targetOf({ destination, port }: Outcome): string {
  return `${bracketed(destination)}:${port}`;
}

function ruleLine(outcome: Outcome): string {
  const rule = translationOf(outcome)?.rule ?? outcome.by;
  if (rule === undefined) return 'no rule';
  return `${rule.backend} ${rule.family} ${rule.table} ${rule.chain} ${rule.backend === 'nft' ? 'handle' : 'rule'} ${rule.handle}: ${rule.text}`;
}

function linesOf(shares: ReadonlyMap<string, Share>): string[] {
  return [...shares]
    .slice(0, 5)
    .map(([target, { probability }]) => `leads to ${target} with probability ${rounded(probability)}`);
}

function admitted({ sourceRanges }: ExpectedEntry, family: 4 | 6): string {
  const ranges = sourceRanges.flatMap((text) => parseRange(text) ?? []).filter((range) => range.family === family);
  if (ranges.length === 0 || ranges.some((range) => inRange(outside[family], range))) return outside[family];
  return sourceRanges.find((text) => text.includes(':') === (family === 6))?.split('/')[0] ?? outside[family];
}

/** Of a pod on this node that is no guest of the node's own network. */
function podAddress({ api, state }: Place, family: 4 | 6): string | undefined {
  for (const { spec, status } of api.pods) {
    if (spec?.nodeName !== state.node || spec.hostNetwork === true || status?.phase !== 'Running') continue;
    const found = (status.podIPs ?? []).find(({ ip }) => ip.includes(':') === (family === 6));
    if (found !== undefined) return found.ip;
  }
  return undefined;
}

function nodeAddress(node: V1Node, family: 4 | 6): string | undefined {
  return node.status?.addresses?.find(
    ({ type, address }) => type === 'InternalIP' && address.includes(':') === (family === 6),
  )?.address;
}

function uplinkOf({ routes }: NodeRules, family: 4 | 6): string | undefined {
  return routes.find({ destination: outside[family] })?.nextHops[0]?.device;
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function rounded(probability: number): string {
  return probability.toFixed(3);
}

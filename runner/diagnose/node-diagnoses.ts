// SPDX-License-Identifier: Apache-2.0
/** Findings of the nodes' states in the words of diagnoses. Pure. */
import type { NodeState } from '../../probes/node-state/node-state.ts';
import type { Finding } from '../../suites/network/findings/finding.ts';
import type { Diagnosis } from './diagnosis.ts';

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
const mild = new Set(['clock-skew', 'loss', 'not-programmed']);

export function nodeDiagnosis({ key, component, node, object, what, proof, remedy }: Finding): Diagnosis {
  const about = key.split('|').slice(3).join('|');
  const match = reasonsByAbout.find(({ pattern }) => pattern.test(about));
  const reason = match?.reason ?? about.split(' ')[0] ?? 'unknown';
  return {
    reason,
    component: match?.component ?? components[component],
    ...(node === '' ? {} : { node }),
    objects: [...objectsIn(object), ...objectsIn(what), ...(node === '' ? [] : [`Node ${node}`])].filter(
      (one, index, all) => all.indexOf(one) === index,
    ),
    summary: `${node === '' ? '' : `${node}: `}${object}: ${what}`,
    evidence: proof,
    next: remedy,
    weight: mild.has(reason) ? 72 : 84,
  };
}

function objectsIn(text: string): string[] {
  const found: string[] = [];
  for (const match of text.matchAll(
    /\b(Service|pod|node|EndpointSlice) ([a-z0-9][a-z0-9.-]*(?:\/[a-z0-9][a-z0-9.-]*)?)/g,
  )) {
    const [, kind = '', name = ''] = match;
    if (kind === 'Service' || kind === 'EndpointSlice' ? name.includes('/') : true)
      found.push(`${kind.charAt(0).toUpperCase()}${kind.slice(1)} ${name}`);
  }
  return found;
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

// SPDX-License-Identifier: Apache-2.0
/** Everything that is wrong with the network of the nodes, from their states and from the API; the suites and a diagnosis ask the same. */
import type { NodeState } from '../../../probes/node-state/node-state.ts';
import { recogniseProviders } from '../../../probes/node-state/provider.ts';
import { serviceEntries } from '../../../probes/node-state/rules/service-entries.ts';
import { clusterView } from './cluster-view.ts';
import type { ApiObjects, Finding } from './finding.ts';
import { kernelFindings } from './kernel-findings.ts';
import { linkFindings } from './link-findings.ts';
import { apartFindings, routeFindings } from './route-findings.ts';
import { serviceFindings } from './service-rules.ts';

/** Pure. Nodes whose state is not given are not judged, nor are parts of a state that could not be read. */
export function nodeFindings(states: readonly NodeState[], api: ApiObjects): Finding[] {
  const view = clusterView(states, api);
  return [
    ...apartFindings(api),
    ...routeFindings(view),
    ...linkFindings(view),
    ...kernelFindings(view),
    ...states.filter((state) => !hidesServices(state)).flatMap((state) => serviceFindings(state, api)),
  ];
}

/** Services are translated where no rule shows it; what rules there are may be leftovers of a proxy that is gone. */
export function hidesServices(state: NodeState): boolean {
  return (
    serviceEntries(state).kind === 'none' ||
    (recogniseProviders(state).some(({ hidden }) => hidden !== undefined) && !state.programs.includes('kube-proxy'))
  );
}

/** One paragraph per finding, for evidence and messages. */
export function describeFindings(findings: readonly Finding[]): string {
  return findings
    .map(({ node, component, object, what, proof, remedy }) =>
      [
        `${node === '' ? 'cluster' : node}, ${component}: ${object}: ${what}`,
        ...proof.map((line) => `    ${line}`),
        `    -> ${remedy}`,
      ].join('\n'),
    )
    .join('\n');
}

// SPDX-License-Identifier: Apache-2.0
// How the bring-up looks to a person: a line per step with its time, and at the end what to do with the cluster.

import { clusterPaths, defaultName } from './layout.ts';
import type { ClusterState } from './state.ts';
import type { StepObserver } from './steps.ts';

export const reportStep: StepObserver = {
  started() {},
  done(step, { note, tookMs, atMs }) {
    process.stderr.write(
      `${seconds(atMs)}  ok    ${step.title} (${Math.round(tookMs)} ms)${note === undefined || note === '' ? '' : `: ${note}`}\n`,
    );
  },
  failed(step) {
    process.stderr.write(`         FAIL  ${step.title}\n`);
  },
};

export function summarise(state: ClusterState, tookMs: number): string {
  const flag = state.name === defaultName ? '' : ` --name ${state.name}`;
  return `Cluster ${state.name} is up after ${(tookMs / 1000).toFixed(1)} s: ${state.nodes.map((node) => node.name).join(', ')}
  use it:     export KUBECONFIG=${clusterPaths(state.name).kubeconfig}
  look at it: npx plumb cluster status${flag}
  remove it:  npx plumb cluster down${flag}
`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2).padStart(7)} s`;
}

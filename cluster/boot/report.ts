// SPDX-License-Identifier: Apache-2.0
// How the bring-up looks to a person: a line per step with its time, and at the end what to do with the cluster.

import { clusterPaths, defaultName } from './layout.ts';
import type { ClusterState } from './state.ts';
import type { StepObserver } from './steps.ts';

/** Live list on a terminal, one line per finished step elsewhere. */
export async function stepReporter(): Promise<StepObserver> {
  return process.stdout.isTTY && process.stdout.columns >= 60 ? liveReporter() : lineReporter;
}

const lineReporter: StepObserver = {
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

/** listr2 draws; the steps run elsewhere and only tell it when they are done. */
async function liveReporter(): Promise<StepObserver> {
  const { Listr } = await import('listr2');
  const ends = new Map<string, PromiseWithResolvers<string>>();
  let drawing: Promise<unknown> = Promise.resolve();
  return {
    planned(steps) {
      const tasks = steps.map((step) => {
        const end = Promise.withResolvers<string>();
        ends.set(step.id, end);
        const task = async (_: unknown, view: { title: string }): Promise<void> => {
          view.title = `${step.title} ${await end.promise}`;
        };
        return { title: step.title, task };
      });
      drawing = new Listr(tasks, {
        concurrent: true,
        exitOnError: false,
        rendererOptions: { collapseErrors: false },
      }).run();
    },
    started() {},
    done(step, { note, tookMs }) {
      const suffix = note === undefined || note === '' ? '' : `: ${note}`;
      ends.get(step.id)?.resolve(`(${Math.round(tookMs)} ms)${suffix}`);
    },
    failed(step, error) {
      ends.get(step.id)?.reject(error instanceof Error ? error : new Error(String(error)));
      // Steps that will not begin any more must not be drawn as if they ran.
      for (const end of ends.values()) end.resolve('(not reached)');
    },
    async settled() {
      await drawing;
    },
  };
}

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

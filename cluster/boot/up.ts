// SPDX-License-Identifier: Apache-2.0
// Brings a cluster up, or an existing one up to date: same options, current programs, current images.

import { join } from 'node:path';

import { cgroupPids, hostCgroups } from '../machines/cgroups.ts';
import { enterNode } from '../machines/enter.ts';
import { run } from '../machines/command.ts';
import { claimPrefix } from '../machines/lan.ts';
import { controlService, writeService } from '../machines/supervisor.ts';
import { bringUpSteps, readySteps } from './bring-up.ts';
import { bundleAll } from './bundle.ts';
import { down } from './down.ts';
import { imageTemplate, importCommand } from './images/template.ts';
import { defaultLoadBalancerRange, lanAddresses } from './ip-plan.ts';
import { clusterPaths, stateDirectory } from './layout.ts';
import { nodeServices } from './services.ts';
import {
  clusterNames,
  isRunning,
  readState,
  writeState,
  type ClusterOptions,
  type ClusterState,
  type NodeState,
} from './state.ts';
import { runSteps, StepError, type Step, type StepObserver } from './steps.ts';

export interface UpRequest extends ClusterOptions {
  readonly name: string;
  /** First three numbers of the LAN, or empty to pick one. */
  readonly lan: string;
  /** False: come back when the components have been started. */
  readonly wait: boolean;
}

/** Resolves to the state of a cluster that answers; one that runs already with the same options is reused. */
export async function up(request: UpRequest, observer: StepObserver): Promise<ClusterState> {
  const existing = readState(request.name);
  if (existing !== undefined) {
    if (isRunning(existing) && existing.ready) {
      requireSameOptions(existing, request);
      const ready = request.wait ? readySteps(existing, ['programs', 'images']) : [];
      await runSteps([...refreshSteps(existing), ...ready], observer);
      return existing;
    }
    await runSteps(
      [{ id: 'clear', title: 'Clear what is left of an earlier cluster', needs: [], run: () => down(request.name) }],
      observer,
    );
  }
  requireUnusedName(request.name);
  const claim = await claimPrefix(
    request.lan,
    clusterNames().flatMap((name) => readState(name)?.prefix ?? []),
  );
  const state = plan(request, claim.prefix);
  writeState(state);
  try {
    await runSteps(bringUpSteps(state, request.wait), observer);
  } finally {
    claim.release();
  }
  state.ready = true;
  writeState(state);
  return state;
}

/** Names are the machine's, whatever state directory a cluster belongs to. */
function requireUnusedName(name: string): void {
  if (cgroupPids(hostCgroups(), name).length === 0) return;
  throw new StepError(`processes of a cluster ${name} run, which ${stateDirectory()} does not know`, {
    remedy: `choose another --name, or, if they are left over, end them with "plumb cluster down --name ${name}"`,
  });
}

function requireSameOptions(state: ClusterState, request: UpRequest): void {
  for (const key of comparedOptions) {
    const [has, asked] = [shown(state.options[key]), shown(request[key])];
    // A range that was not asked for is the one that was chosen at the first time.
    if (has === asked || (key === 'loadBalancerRange' && asked === '')) continue;
    throw new StepError(`cluster ${state.name} runs with ${key} ${has || '(none)'}, not ${asked || '(none)'}`, {
      remedy: `remove it with "plumb cluster down --name ${state.name}", or choose another --name`,
    });
  }
}

function shown(option: ClusterOptions[keyof ClusterOptions]): string {
  if (typeof option !== 'object') return String(option);
  return Object.entries(option)
    .map(([name, path]) => `${name}=${path}`)
    .toSorted()
    .join(' ');
}

const comparedOptions = [
  'workers',
  'kubernetesVersion',
  'etcdEndpoints',
  'etcdMembers',
  'proxyMode',
  'network',
  'ipFamily',
  'loadBalancerRange',
  'ingress',
  'components',
] as const satisfies (keyof ClusterOptions)[];

/** Addresses and names, decided before anything is made. */
function plan(request: UpRequest, prefix: string): ClusterState {
  const { nodes } = clusterPaths(request.name);
  const node = (name: string, index: number): NodeState => {
    const addresses = lanAddresses(prefix, 10 + index, request.ipFamily);
    return {
      name,
      role: index === 0 ? 'control-plane' : 'worker',
      address: addresses[0] ?? '',
      addresses,
      directory: join(nodes, name),
    };
  };
  const workers = Array.from(
    { length: request.workers },
    (_, index) => `${request.name}-worker${index === 0 ? '' : index + 1}`,
  );
  const { name: _name, lan: _lan, wait: _wait, ...options } = request;
  const loadBalancerRange = options.loadBalancerRange || defaultLoadBalancerRange(prefix, options.ipFamily);
  return {
    format: 1,
    name: request.name,
    createdAt: new Date().toISOString(),
    prefix,
    options: { ...options, loadBalancerRange },
    nodes: [`${request.name}-control-plane`, ...workers].map(node),
    ready: false,
  };
}

/** What has changed in the project since the cluster came up reaches it without a new cluster. */
function refreshSteps(state: ClusterState): Step[] {
  return [
    {
      id: 'programs',
      title: 'Compare the components with their sources',
      needs: [],
      run: async () => {
        const { bundles } = await bundleAll();
        const restarted: string[] = [];
        for (const node of state.nodes) {
          for (const service of nodeServices({ state, node, bundles })) {
            if (!writeService(node.directory, service)) continue;
            await controlService(node.directory, service.name, 'up');
            await controlService(node.directory, service.name, 'restart');
            restarted.push(`${service.name} on ${node.name}`);
          }
        }
        return restarted.length === 0 ? '' : `changed, and restarted: ${restarted.join(', ')}`;
      },
    },
    {
      id: 'images',
      title: 'Compare the images with what they are made from',
      needs: [],
      run: () => loadImages(state),
    },
  ];
}

/** Imports the images into the nodes of a running cluster if they differ; pods take them when they are next created. */
export async function loadImages(state: ClusterState): Promise<string> {
  const template = await imageTemplate();
  if (template.key === state.images) return '';
  for (const node of state.nodes) {
    if (node.init === undefined) continue;
    const place = { cluster: state.name, name: node.name, init: node.init };
    const command = importCommand(template.layout, ['ctr', '--namespace', 'k8s.io']);
    await run(enterNode(place, command), { timeoutMs: 300_000 });
  }
  state.images = template.key;
  writeState(state);
  return 'changed, and loaded into the nodes';
}

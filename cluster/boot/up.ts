// SPDX-License-Identifier: Apache-2.0
// Brings a cluster up. The list of steps in `bringUpSteps` is the whole story; each step is a few lines that call the
// module which knows how.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { hostRoutes, createLan, pickPrefix, type Lan } from '../machines/lan.ts';
import { startNode } from '../machines/node.ts';
import { controlService, logTail, serviceNames, writeService } from '../machines/supervisor.ts';
import { run } from '../machines/command.ts';
import { bundle, programs, type Program } from './bundle.ts';
import { cniDirectory, containerdConfig, lacksSysResource, parseContainerdVersion } from './containerd.ts';
import { checks, examine } from './doctor.ts';
import { down } from './down.ts';
import { pauseImage } from './images/images.ts';
import { copyTemplate, imageTemplate, type ImageTemplate } from './images/template.ts';
import { cacheDirectory, clusterPaths, projectDirectory, stateDirectory } from './layout.ts';
import { writePki } from './pki.ts';
import { apiServerAnswers, dnsAnswers, labelNodes, nodesReady } from './readiness.ts';
import { hostsFile, nodeResolvConf } from './node-files.ts';
import { kubeletConfig, nodeServices } from './services.ts';
import { applyManifests } from './add-ons.ts';
import {
  clusterNames,
  controlPlane,
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
  readonly network: string;
  /** False: come back when the components have been started. */
  readonly wait: boolean;
}

/** Programs that run outside pods; a cluster can do without those that the project does not have yet. */
const nodePrograms = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'network-agent',
] as const satisfies Program[];

/** Resolves to the state of a cluster that answers; one that runs already with the same options is reused. */
export async function up(request: UpRequest, observer: StepObserver): Promise<ClusterState> {
  const existing = readState(request.name);
  if (existing !== undefined) {
    if (isRunning(existing) && existing.ready) {
      requireSameOptions(existing, request);
      await runSteps(request.wait ? readySteps(existing, []) : [], observer);
      return existing;
    }
    await runSteps(
      [{ id: 'clear', title: 'Clear what is left of an earlier cluster', needs: [], run: () => down(request.name) }],
      observer,
    );
  }
  const state = await plan(request);
  await runSteps(bringUpSteps(state, request), observer);
  state.ready = true;
  writeState(state);
  return state;
}

function requireSameOptions(state: ClusterState, request: UpRequest): void {
  for (const key of ['workers', 'kubernetesVersion', 'etcdEndpoints', 'etcdMembers', 'proxyMode'] as const) {
    if (state.options[key] === request[key]) continue;
    throw new StepError(
      `cluster ${state.name} runs with ${key} ${state.options[key] || '(none)'}, not ${request[key] || '(none)'}`,
      {
        remedy: `remove it with "plumb cluster down --name ${state.name}", or choose another --name`,
      },
    );
  }
}

/** Addresses and names, decided before anything is made. */
async function plan(request: UpRequest): Promise<ClusterState> {
  const taken = clusterNames().flatMap((name) => readState(name)?.prefix ?? []);
  const prefix = request.network === '' ? pickPrefix(await hostRoutes(), taken) : request.network;
  const { nodes } = clusterPaths(request.name);
  const node = (name: string, index: number): NodeState => ({
    name,
    role: index === 0 ? 'control-plane' : 'worker',
    address: `${prefix}.${10 + index}`,
    directory: join(nodes, name),
  });
  const workers = Array.from(
    { length: request.workers },
    (_, index) => `${request.name}-worker${index === 0 ? '' : index + 1}`,
  );
  const { workers: count, kubernetesVersion, etcdEndpoints, etcdMembers, proxyMode } = request;
  return {
    format: 1,
    name: request.name,
    createdAt: new Date().toISOString(),
    prefix,
    options: { workers: count, kubernetesVersion, etcdEndpoints, etcdMembers, proxyMode },
    nodes: [`${request.name}-control-plane`, ...workers].map(node),
    ready: false,
  };
}

function bringUpSteps(state: ClusterState, request: UpRequest): Step[] {
  const bundles = new Map<Program, string>();
  let lan: Lan | undefined;
  let version = '';
  let images: ImageTemplate | undefined;
  const first = controlPlane(state);
  const start = async (node: NodeState, names: readonly string[]): Promise<string> => {
    const present = serviceNames(node.directory);
    const known = names.filter((name) => present.includes(name));
    await Promise.all(known.map((name) => controlService(node.directory, name, 'up')));
    return known.length === 0 ? 'none of its programs are in the project yet' : '';
  };
  return [
    { id: 'machine', title: 'Check the machine', needs: [], run: requireMachine },
    {
      id: 'directories',
      title: `Make ${clusterPaths(state.name).root}`,
      needs: ['machine'],
      run: async () => {
        writeState(state);
        mkdirSync(cacheDirectory('compile'), { recursive: true });
      },
    },
    {
      id: 'bundles',
      title: 'Bundle the components',
      needs: [],
      run: async () => {
        const found = await Promise.all(nodePrograms.map(async (program) => [program, await bundle(program)] as const));
        for (const [program, path] of found) if (path !== undefined) bundles.set(program, path);
        const missing = nodePrograms.filter((program) => !bundles.has(program));
        return missing.length === 0
          ? ''
          : `not in the project yet: ${missing.map((program) => programs[program]).join(', ')}`;
      },
    },
    { id: 'pki', title: 'Issue certificates and kubeconfigs', needs: ['directories'], run: () => writePki(state) },
    {
      id: 'lan',
      title: `Lay the LAN ${state.prefix}.0/24`,
      needs: ['directories'],
      run: async () => {
        lan = await createLan(state.name, state.prefix);
        state.lan = { hostLink: lan.hostLink, holder: lan.holder };
        writeState(state);
      },
    },
    {
      id: 'images',
      title: 'Build the images (once, then cached)',
      needs: ['directories'],
      run: async () => {
        version = parseContainerdVersion(await run(['containerd', '--version']));
        images = await imageTemplate(version);
        state.images = images.key;
        writeState(state);
        return images.notes.join('; ');
      },
    },
    {
      id: 'configuration',
      title: 'Write the configuration of the nodes',
      needs: ['bundles', 'images'],
      run: async () => {
        const containerd = containerdConfig({
          version,
          sandboxImage: pauseImage,
          cniDirectory: cniDirectory() ?? '/usr/lib/cni',
          restrictOomScoreAdj: lacksSysResource(),
        });
        for (const node of state.nodes) {
          mkdirSync(join(node.directory, 'kubernetes', 'manifests'), { recursive: true });
          mkdirSync(join(node.directory, 'kubelet'), { recursive: true });
          if (images !== undefined) copyTemplate(images, join(node.directory, 'containerd'));
          writeFileSync(join(node.directory, 'kubernetes', 'containerd.toml'), containerd);
          writeFileSync(join(node.directory, 'kubelet', 'config.yaml'), kubeletConfig());
          for (const service of nodeServices({ state, node, bundles })) writeService(node.directory, service);
        }
        return `containerd ${version}`;
      },
    },
    ...state.nodes.flatMap((node): Step[] => [
      {
        id: `node ${node.name}`,
        title: `Start node ${node.name} (${node.address})`,
        needs: ['lan', 'configuration'],
        run: async () => {
          if (lan === undefined) throw new Error('the LAN is missing');
          const spec = {
            cluster: state.name,
            name: node.name,
            address: node.address,
            directory: node.directory,
            keepVisible: [projectDirectory, stateDirectory(), process.execPath],
            resolvConf: nodeResolvConf(),
            hosts: hostsFile(state.nodes),
          };
          const machine = await startNode(spec, lan);
          node.init = machine.init;
          node.parent = machine.parent;
          writeState(state);
          await start(node, ['containerd']);
        },
      },
    ]),
    ...state.nodes
      .map((node): Step => ({
        id: `etcd ${node.name}`,
        title: `Start etcd on ${node.name}`,
        needs: [`node ${node.name}`, 'pki'],
        run: async () => {
          const members = serviceNames(node.directory).filter((name) => name.startsWith('etcd'));
          if (members.length > 0) await start(node, members);
        },
      }))
      .filter((step) => request.etcdEndpoints === '' && (step.id === `etcd ${first.name}` || request.etcdMembers > 1)),
    {
      id: 'apiserver',
      title: 'Start the API server',
      needs: [`node ${first.name}`, 'pki'],
      run: async (signal) => {
        const note = await start(first, ['kube-apiserver']);
        if (bundles.has('kube-apiserver') && request.wait)
          await withLog(first, 'kube-apiserver', apiServerAnswers(state, signal));
        return note;
      },
    },
    {
      id: 'control-plane',
      title: 'Start controllers and scheduler',
      needs: ['apiserver'],
      run: () => start(first, ['kube-controller-manager', 'kube-scheduler']),
    },
    {
      id: 'add-ons',
      title: 'Apply the add-ons',
      needs: ['apiserver'],
      run: async () => (request.wait ? applyManifests(state) : 'left out by --no-wait'),
    },
    ...state.nodes.map((node): Step => ({
      id: `services ${node.name}`,
      title: `Start kubelet, network agent and kube-proxy on ${node.name}`,
      needs: [`node ${node.name}`, 'apiserver'],
      run: () => start(node, ['kubelet', 'network-agent', 'kube-proxy']),
    })),
    ...(request.wait
      ? readySteps(state, ['add-ons', 'control-plane', ...state.nodes.map((node) => `services ${node.name}`)])
      : []),
  ];
}

/** The required checks of the doctor; the first that fails is the error, with its remedy. */
async function requireMachine(): Promise<void> {
  const failed = (await examine(checks.filter((check) => check.level === 'required'))).filter((result) => !result.ok);
  const first = failed[0];
  if (first === undefined) return;
  const others = failed.length > 1 ? ` (and ${failed.length - 1} more; "plumb doctor" lists them)` : '';
  throw new StepError(`this machine does not meet a need: ${first.title}: ${first.detail}${others}`, {
    remedy: first.remedy ?? 'see "plumb doctor"',
  });
}

function readySteps(state: ClusterState, needs: readonly string[]): Step[] {
  return [
    {
      id: 'nodes-ready',
      title: 'Wait for the nodes to be Ready',
      needs,
      run: async (signal) => {
        await labelNodes(state, signal);
        await nodesReady(state, signal);
      },
    },
    {
      id: 'dns',
      title: 'Wait for cluster DNS to answer',
      needs: ['nodes-ready'],
      run: (signal) => dnsAnswers(state, signal),
    },
  ];
}

/** Adds the end of a component's log to what went wrong while waiting for it. */
async function withLog(node: NodeState, service: string, waiting: Promise<void>): Promise<void> {
  try {
    await waiting;
  } catch (error) {
    throw new StepError(error instanceof Error ? error.message : String(error), {
      remedy: `see "plumb cluster logs ${node.name} ${service}"; "plumb doctor" checks the machine`,
      log: logTail(node.directory, service, 20),
      cause: error,
    });
  }
}

// SPDX-License-Identifier: Apache-2.0
// The list of steps from nothing to a cluster that answers. It is the whole story: each step is a few lines that call
// the module which knows how.

import { mkdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { createLan } from '../machines/lan.ts';
import { makeMountPoints } from '../machines/mount-points.ts';
import { logTail, serviceNames, serviceStatus } from '../machines/supervisor.ts';
import { applyManifests } from './add-ons.ts';
import { bundleAll, programs, type Program } from './bundle.ts';
import { checks, checksOfMode, examine } from './doctor.ts';
import { imageTemplate, type ImageTemplate } from './images/template.ts';
import { lanGateways, lanNetworks } from './ip-plan.ts';
import { cacheDirectory, clusterPaths, stateDirectory } from './layout.ts';
import { bootNode, configureNode, startServices } from './node-boot.ts';
import { writePki } from './pki.ts';
import { apiServerAnswers, dnsAnswers, ingressServes, labelNodes, nodesReady } from './readiness.ts';
import { controlPlane, writeState, type ClusterState, type NodeState } from './state.ts';
import { StepError, type Step } from './steps.ts';

/** `wait` false: come back when the components have been started, for work on one that does not run yet. */
export function bringUpSteps(state: ClusterState, wait: boolean): Step[] {
  let bundles: ReadonlyMap<Program, string> = new Map();
  let images: ImageTemplate | undefined;
  const first = controlPlane(state);
  return [
    { id: 'machine', title: 'Check the machine', needs: [], run: () => requireMachine(state) },
    {
      id: 'bundles',
      title: 'Bundle the components',
      needs: [],
      run: async () => {
        const found = await bundleAll();
        bundles = found.bundles;
        return found.missing.length === 0
          ? ''
          : `not in the project yet: ${found.missing.map((name) => programs[name]).join(', ')}`;
      },
    },
    {
      id: 'images',
      title: 'Build the images, or find them built',
      needs: ['machine'],
      run: async () => {
        images = await imageTemplate();
        state.images = images.key;
        writeState(state);
        return images.notes.join('; ');
      },
    },
    {
      id: 'pki',
      title: `Issue certificates and kubeconfigs in ${clusterPaths(state.name).root}`,
      needs: ['machine'],
      run: () => writePki(state),
    },
    {
      id: 'lan',
      title: `Lay the LAN ${lanNetworks(state.prefix, state.options.ipFamily).join(' and ')}`,
      needs: ['machine'],
      run: async () => {
        state.lan = await createLan(state.name, state.prefix, lanGateways(state.prefix, state.options.ipFamily));
        writeState(state);
      },
    },
    ...state.nodes.flatMap((node): Step[] => [
      {
        id: `node ${node.name}`,
        title: `Start node ${node.name} (${node.addresses.join(', ')}) with containerd`,
        needs: ['bundles', 'images', 'lan'],
        run: async () => {
          mkdirSync(cacheDirectory('compile'), { recursive: true });
          makeMountPoints(stateDirectory());
          await configureNode({ state, node, bundles, images });
          await bootNode(state, node);
          await startServices(node, (name) => name === 'containerd');
        },
      },
      {
        id: `etcd ${node.name}`,
        title: `Start etcd on ${node.name}`,
        needs: [`node ${node.name}`, 'pki'],
        run: () => startServices(node, (name) => name.startsWith('etcd')),
      },
    ]),
    {
      id: 'apiserver',
      title: 'Start the API server',
      needs: [`etcd ${first.name}`],
      run: async (signal) => {
        await startServices(first, (name) => name === 'kube-apiserver');
        if (wait)
          await withLog(first, 'kube-apiserver', (stop) => apiServerAnswers(state, AbortSignal.any([signal, stop])));
      },
    },
    {
      id: 'control-plane',
      title: 'Start controllers and scheduler',
      needs: ['apiserver'],
      run: () => startServices(first, (name) => name === 'kube-controller-manager' || name === 'kube-scheduler'),
    },
    {
      id: 'add-ons',
      title: 'Apply the add-ons',
      needs: ['apiserver'],
      run: async () => (wait ? applyManifests(state) : 'left out by --no-wait'),
    },
    ...state.nodes.map((node): Step => ({
      id: `services ${node.name}`,
      title: `Start kubelet, network agent and kube-proxy on ${node.name}`,
      needs: [`etcd ${node.name}`, 'apiserver'],
      run: () => startServices(node, (name) => ['kubelet', 'network-agent', 'kube-proxy', 'bird'].includes(name)),
    })),
    ...(wait
      ? readySteps(state, ['add-ons', 'control-plane', ...state.nodes.map((node) => `services ${node.name}`)])
      : []),
  ];
}

/** What `up` waits for before it comes back. */
export function readySteps(state: ClusterState, needs: readonly string[]): Step[] {
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
    ...(state.options.ingress
      ? [
          {
            id: 'ingress',
            title: 'Wait for the ingress controller to serve',
            needs: ['nodes-ready'],
            run: (signal: AbortSignal) => ingressServes(state, signal),
          },
        ]
      : []),
  ];
}

/** The required checks of the doctor; the first that fails is the error, with its remedy. */
async function requireMachine({ options }: ClusterState): Promise<void> {
  const ofMode = checksOfMode[options.network];
  const needed = checks.filter(
    ({ id, level }) => level === 'required' || ofMode.includes(id) || (options.ingress && id === 'program-haproxy'),
  );
  const failed = (await examine(needed)).filter((result) => !result.ok);
  const first = failed[0];
  if (first === undefined) return;
  const others = failed.length > 1 ? ` (and ${failed.length - 1} more; "plumb doctor" lists them)` : '';
  throw new StepError(`this machine does not meet a need: ${first.title}: ${first.detail}${others}`, {
    remedy: first.remedy ?? 'see "plumb doctor"',
  });
}

/** Waits, but not for a component that keeps ending; a failure carries the end of its log. */
async function withLog(
  node: NodeState,
  service: string,
  waitFor: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const ended = new AbortController();
  try {
    await Promise.race([waitFor(stop.signal), crashLoop(node, service, ended.signal)]);
  } catch (error) {
    const present = serviceNames(node.directory).includes(service);
    throw new StepError(error instanceof Error ? error.message : String(error), {
      remedy: present
        ? `see "plumb cluster logs ${node.name} ${service}"; "plumb doctor" checks the machine`
        : `the project has no ${service} yet: use --no-wait`,
      log: logTail(node.directory, service, 20),
      cause: error,
    });
  } finally {
    stop.abort();
    ended.abort();
  }
}

/** Rejects when the service has been started again and again; resolves only when told to stop. */
async function crashLoop(node: NodeState, service: string, signal: AbortSignal): Promise<void> {
  const pids = new Set<number>();
  while (!signal.aborted) {
    const pid = serviceStatus(node.directory, service)?.pid;
    if (pid !== undefined) pids.add(pid);
    if (pids.size > 4) throw new Error(`${service} on ${node.name} ends as soon as it has started`);
    await delay(100, undefined, { signal }).catch(() => {});
  }
}

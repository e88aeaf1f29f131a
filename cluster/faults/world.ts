// SPDX-License-Identifier: Apache-2.0
// What scripts and manifests of faults may name: nodes, addresses and pods of the cluster at this moment, as variables.

import type { Node, Pod, Service } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';
import { projectVersion } from '../boot/add-ons.ts';
import type { ClusterState, NodeState } from '../boot/state.ts';

export type World = Readonly<Record<string, string>>;

/** Namespace of what the users run. */
export const workloadNamespace = 'shop';

/**
 * `CONTROL_PLANE`, `WORKER` and `WORKER2` are names of nodes, each with `_IP` and `_POD_CIDR`. `WEB`, `WEB2`, `API`, `API2`, `DB`, `CLIENT` and `DNS`, `DNS2`
 * are names of pods, each with `_IP` and `_NODE`; a `2` is the pod on the second worker, or simply the second. `WEB_SERVICE_IP` and so on are ClusterIPs,
 * `WEB_NODE_PORT` a number. What is not there is the empty text.
 */
export function worldOf(state: ClusterState, seen: { nodes: Node[]; pods: Pod[]; services: Service[] }): World {
  const world: Record<string, string> = {
    CLUSTER: state.name,
    LAN_PREFIX: state.prefix,
    IMAGE: `plumbline.local/probe:${projectVersion()}`,
  };
  const [first, second] = state.nodes.filter(({ role }) => role === 'worker');
  const control = state.nodes.find(({ role }) => role === 'control-plane');
  for (const [prefix, node] of [
    ['CONTROL_PLANE', control],
    ['WORKER', first],
    ['WORKER2', second],
  ] as const) {
    const object = seen.nodes.find(({ metadata }) => metadata.name === node?.name);
    world[prefix] = node?.name ?? '';
    world[`${prefix}_IP`] = node?.address ?? '';
    world[`${prefix}_POD_CIDR`] = object?.spec?.podCIDR ?? '';
  }
  const live = seen.pods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const addPods = (prefix: string, pods: readonly Pod[]): void => {
    // The one on the first worker goes first, so that names mean the same in every run.
    const sorted = pods.toSorted((a, b) => rank(a, state.nodes) - rank(b, state.nodes));
    for (const [index, suffix] of ['', '2'].entries()) {
      const pod = sorted[index];
      world[`${prefix}${suffix}`] = pod?.metadata.name ?? '';
      world[`${prefix}${suffix}_IP`] = pod?.status?.podIP ?? '';
      world[`${prefix}${suffix}_NODE`] = pod?.spec?.nodeName ?? '';
    }
  };
  for (const app of ['web', 'api', 'db', 'client']) {
    addPods(
      app.toUpperCase(),
      live.filter(({ metadata }) => metadata.namespace === workloadNamespace && metadata.labels?.['app'] === app),
    );
    const service = seen.services.find(
      ({ metadata }) => metadata.namespace === workloadNamespace && metadata.name === app,
    );
    world[`${app.toUpperCase()}_SERVICE_IP`] = service?.spec?.clusterIP ?? '';
    world[`${app.toUpperCase()}_NODE_PORT`] = String(service?.spec?.ports?.[0]?.nodePort ?? '');
  }
  addPods(
    'DNS',
    live.filter(({ metadata }) => metadata.namespace === 'kube-system' && metadata.labels?.['k8s-app'] === 'kube-dns'),
  );
  const dns = seen.services.find(
    ({ metadata }) => metadata.namespace === 'kube-system' && metadata.name === 'kube-dns',
  );
  world['DNS_SERVICE_IP'] = dns?.spec?.clusterIP ?? '';
  return world;
}

export async function readWorld(state: ClusterState, client: Client): Promise<World> {
  const [nodes, pods, services] = await Promise.all([
    client.list<Node>(resources.nodes),
    client.list<Pod>(resources.pods),
    client.list<Service>(resources.services),
  ]);
  return worldOf(state, { nodes: nodes.items, pods: pods.items, services: services.items });
}

/** `${NAME}` replaced by its value. Errors name a variable that is not there or empty. */
export function fillIn(template: string, world: World): string {
  return template.replaceAll(/\$\{([A-Z0-9_]+)\}/g, (_whole, name: string) => {
    const value = world[name];
    if (value === undefined || value === '') {
      throw new Error(`there is no ${name} in this cluster: a fault needs two workers, and the workload running`);
    }
    return value;
  });
}

function rank(pod: Pod, nodes: readonly NodeState[]): number {
  const index = nodes.findIndex(({ name }) => name === pod.spec?.nodeName);
  const isControlPlane = nodes[index]?.role === 'control-plane';
  return index < 0 ? 1_000 : isControlPlane ? 500 : index;
}

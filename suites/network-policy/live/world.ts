// SPDX-License-Identifier: Apache-2.0
/**
 * Worlds: nine probe pods in three namespaces on two nodes, with their Services, kept for all policy cases of a run. Each case has one to
 * itself; there are as many as cases run at the same time, so that one case's policies settle while another's are probed, but no more than
 * so many cases are worth. NetworkPolicies of one world select nothing in another, because they are namespaced; ClusterNetworkPolicies are
 * scoped by the label `plumbline.io/world`.
 */
import type { KubernetesObject, V1Service } from '@kubernetes/client-node';
import type { ProbePod } from '../../../probes/agent/prober.ts';
import { InconclusiveError, type CaseContext } from '../../case.ts';
import type { KubeClients } from '../../kube-clients.ts';
import type { Family, Labels, Model, ModelNode, ModelPod, ModelService } from '../../oracles/reachability/model.ts';
import { familyOf } from '../../oracles/reachability/selectors.ts';
import { tablePortNames, tablePorts } from '../generator/policy-case.ts';
import { openSurroundings, type Surroundings } from './surroundings.ts';

export const namespaceKeys = ['x', 'y', 'z'] as const;
const podKeys = ['a', 'b', 'c'] as const;
/** `x/a`. */
export type PodKey = string;

export const servedPorts = (['tcp', 'udp'] as const).flatMap((protocol) =>
  Object.values(tablePorts).map((port) => ({ protocol, port })),
);

/** For the metadata of every case that opens a world. */
export const worldShares = ['policy-world'] as const;
export const worldLabel = 'plumbline.io/world';
const podLabel = 'plumbline.io/table-pod';
/** Headless Service of every namespace, under which each pod has a name. */
const headlessName = 'peers';
/** With each world come nine agents; more than this many in use at once wait. */
const worldsMax = 8;
/** Below the time of a case, so that a slow machine is not taken for a broken cluster. */
const waitMs = 90_000;

export interface World {
  /** Value of the label `plumbline.io/world` on its namespaces; unique within the run. */
  readonly key: string;
  readonly namespaces: ReadonlyMap<string, string>;
  readonly pods: ReadonlyMap<PodKey, ProbePod>;
  /** One Service per pod, with the pod's own ports. */
  readonly services: ReadonlyMap<PodKey, V1Service>;
  /** Everything as it is without policies. */
  readonly atRest: Model;
  readonly surroundings: Surroundings;
  /** Gives the world back; one that could not be put back as it was is not used again. */
  release(clean: boolean): void;
}

interface Furniture {
  readonly namespaceLabels: ReadonlyMap<string, Labels>;
  readonly services: ReadonlyMap<PodKey, V1Service>;
}

interface Pool {
  readonly free: string[];
  /** Cases that wait for a world to become free, or for their turn to build one. */
  readonly waiting: (() => void)[];
  readonly furniture: Map<string, Promise<Furniture>>;
  surroundings?: Promise<Surroundings>;
  made: number;
  inUse: number;
  building: boolean;
}

/** All cases of a run share its clients. */
const pools = new WeakMap<KubeClients, Pool>();

/** A world for this case alone, until `release`. */
export async function acquireWorld(t: CaseContext): Promise<World> {
  const pool: Pool = pools.get(t.kube) ?? {
    free: [],
    waiting: [],
    furniture: new Map(),
    made: 0,
    inUse: 0,
    building: false,
  };
  pools.set(t.kube, pool);
  const limit = AbortSignal.timeout(waitMs);
  const key = await takeKey(pool, AbortSignal.any([t.signal, limit])).catch((error: unknown) => {
    if (!limit.aborted || t.signal.aborted) throw error;
    throw new InconclusiveError(`no world became free, nor was one built, within ${waitMs / 1000} s`);
  });
  const release = (clean: boolean): void => {
    pool.inUse--;
    if (clean) pool.free.push(key);
    pool.waiting.shift()?.();
  };
  const isNew = !pool.furniture.has(key);
  try {
    pool.surroundings ??= openSurroundings(t).catch((error: unknown) => {
      delete pool.surroundings;
      throw error;
    });
    const [pods, surroundings] = await Promise.all([startPods(t, key), pool.surroundings]);
    const found = new Map(pods.map((pod) => [`${pod.labels['ns']}/${pod.name}`, pod]));
    const namespaces = new Map(namespaceKeys.map((ns) => [ns, found.get(`${ns}/a`)?.namespace ?? '']));
    const known = pool.furniture.get(key) ?? furnish(t, key, namespaces);
    pool.furniture.set(key, known);
    const { namespaceLabels, services } = await known;
    return {
      key,
      namespaces,
      pods: found,
      services,
      atRest: modelOf(t, { pods: found, namespaceLabels, services, surroundings }),
      surroundings,
      release,
    };
  } catch (error) {
    release(false);
    t.signal.throwIfAborted();
    // Where pods and Services cannot be had, nothing is said about policies.
    const message = error instanceof Error ? error.message : String(error);
    throw new InconclusiveError(`no world could be built: ${message}`, { cause: error });
  } finally {
    if (isNew) {
      pool.building = false;
      pool.waiting.shift()?.();
    }
  }
}

/** One world is built at a time: nine pods at once are enough for a small cluster, and meanwhile another may become free. */
async function takeKey(pool: Pool, signal: AbortSignal): Promise<string> {
  for (;;) {
    signal.throwIfAborted();
    const free = pool.free.pop();
    if (free !== undefined || (!pool.building && pool.inUse < worldsMax)) {
      pool.inUse++;
      if (free !== undefined) return free;
      pool.building = true;
      return newKey(pool);
    }
    await new Promise<void>((resolve) => {
      pool.waiting.push(resolve);
      const giveUp = (): void => {
        const place = pool.waiting.indexOf(resolve);
        if (place !== -1) pool.waiting.splice(place, 1);
        resolve();
      };
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }
}

function newKey(pool: Pool): string {
  return `policy-${++pool.made}`;
}

function startPods(t: CaseContext, key: string): Promise<ProbePod[]> {
  const [first = '', second = first] = t.cluster.workers;
  return t.probes.shared({
    key,
    pods: namespaceKeys.flatMap((namespace, row) =>
      podKeys.map((pod, column) => ({
        ...tablePod(namespace, pod),
        purpose: namespace,
        node: (row + column) % 2 === 0 ? first : second,
      })),
    ),
  });
}

/** What every pod of a table has, those of later steps included. */
export function tablePod(namespace: string, pod: string) {
  return {
    name: pod,
    labels: { pod, ns: namespace, [podLabel]: pod },
    listen: servedPorts,
    portNames: Object.fromEntries(
      Object.entries(tablePortNames(pod)).flatMap(([name, port]) => {
        const [protocol = '', word = ''] = name.split('/');
        return protocol === 'sctp' ? [] : [[word, `${protocol}/${port}` as `${'tcp' | 'udp'}/${number}`]];
      }),
    ),
    // Unique within a world, so that an answer says who gave it.
    spec: { hostname: hostNameOf(namespace, pod), subdomain: headlessName },
  };
}

export function hostNameOf(namespace: string, pod: string): string {
  return `${namespace}-${pod}`;
}

export function headlessNameOf(t: CaseContext, namespace: string, key: PodKey): string {
  const [space = '', pod = ''] = key.split('/');
  return `${hostNameOf(space, pod)}.${headlessName}.${namespace}.svc.${t.cluster.clusterDomain}`;
}

/** Labels of the namespaces and the Services of the pods. */
async function furnish(t: CaseContext, key: string, namespaces: ReadonlyMap<string, string>): Promise<Furniture> {
  const namespaceLabels = new Map<string, Labels>();
  const services = new Map<PodKey, V1Service>();
  await Promise.all(
    [...namespaces].map(async ([ns, name]) => {
      const labels = { ns, [worldLabel]: key };
      const stored = await patchLabels(t, { kind: 'Namespace', name }, labels);
      namespaceLabels.set(name, stored.metadata?.labels ?? {});
      const headless = { clusterIP: 'None', selector: { ns }, ports: [{ name: 'web', port: tablePorts.first }] };
      await t.kube.core.createNamespacedService({
        namespace: name,
        body: { metadata: { name: headlessName }, spec: { ...headless, ipFamilyPolicy: 'PreferDualStack' } },
      });
      for (const pod of podKeys) {
        const body = {
          metadata: { name: `pod-${pod}` },
          spec: {
            // One per namespace is enough to have every node's ports tried.
            type: pod === 'b' ? 'NodePort' : 'ClusterIP',
            ipFamilyPolicy: 'PreferDualStack',
            selector: { [podLabel]: pod },
            ports: servedPorts.map(({ protocol, port }) => ({
              name: `${protocol}-${port}`,
              protocol: protocol.toUpperCase(),
              port,
            })),
          },
        };
        services.set(`${ns}/${pod}`, await t.kube.core.createNamespacedService({ namespace: name, body }));
      }
    }),
  );
  return { namespaceLabels, services };
}

/** Changes labels of a pod or a namespace; null takes one away. */
export async function patchLabels(
  t: CaseContext,
  { kind, namespace, name }: { readonly kind: 'Pod' | 'Namespace'; readonly namespace?: string; readonly name: string },
  labels: Readonly<Record<string, string | null>>,
): Promise<KubernetesObject> {
  const path = kind === 'Pod' ? `/api/v1/namespaces/${namespace}/pods/${name}` : `/api/v1/namespaces/${name}`;
  const headers = { 'Content-Type': 'application/merge-patch+json' };
  const response = await t.kube.request({ method: 'PATCH', path, headers, body: { metadata: { labels } } });
  if (response.status !== 200)
    throw new Error(
      `labels of ${kind} ${name}: the API server answered ${response.status}: ${response.body.toString().slice(0, 300)}`,
    );
  return response.json() as KubernetesObject;
}

function modelOf(
  t: CaseContext,
  parts: Furniture & { readonly pods: ReadonlyMap<PodKey, ProbePod>; readonly surroundings: Surroundings },
): Model {
  const { surroundings } = parts;
  return {
    pods: [...[...parts.pods.values()].map(toModelPod), ...surroundings.dnsPods],
    namespaces: new Map([...parts.namespaceLabels, ...surroundings.namespaces]),
    policies: [],
    clusterPolicies: [],
    nodes: t.cluster.nodes.map(({ metadata, status }): ModelNode => ({
      name: metadata?.name ?? '',
      labels: metadata?.labels ?? {},
      addresses: (status?.addresses ?? []).map(({ address }) => address).filter((address) => familyOf(address) !== 0),
    })),
    services: [...parts.services.values()].map(toModelService),
  };
}

export function toModelPod(pod: ProbePod): ModelPod {
  return {
    namespace: pod.namespace,
    name: pod.name,
    labels: pod.labels,
    addresses: pod.ips,
    node: pod.node,
    namedPorts: tablePortNames(pod.name),
  };
}

function toModelService({ metadata, spec }: V1Service): ModelService {
  return {
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    clusterIPs: spec?.clusterIPs ?? [],
    selector: spec?.selector ?? {},
    ports: (spec?.ports ?? []).map(({ name = '', protocol, port, nodePort }) => ({
      name,
      protocol: protocol === 'UDP' ? ('udp' as const) : ('tcp' as const),
      port,
      targetPort: port,
      ...(nodePort === undefined ? {} : { nodePort }),
    })),
  };
}

/** Families that every pod of the world has. */
export function familiesOf({ pods }: Pick<World, 'pods'>): Family[] {
  return ([4, 6] as const).filter((family) =>
    [...pods.values()].every(({ ips }) => ips.some((ip) => familyOf(ip) === family)),
  );
}

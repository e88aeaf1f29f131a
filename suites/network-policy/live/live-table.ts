// SPDX-License-Identifier: Apache-2.0
/**
 * A world with a case's policies in it: carries out the actions of a case in the cluster and in the oracle's model at the same time, and puts
 * everything back afterwards.
 */
import type { KubernetesObject, V1NetworkPolicy } from '@kubernetes/client-node';
import { ApiException } from '@kubernetes/client-node';
import type { ProbePod } from '../../../probes/agent/prober.ts';
import { done, pending, type CaseContext } from '../../case.ts';
import type { ClusterNetworkPolicy } from '../../oracles/reachability/cluster-network-policy.ts';
import type { Family, Model } from '../../oracles/reachability/model.ts';
import { familyOf } from '../../oracles/reachability/selectors.ts';
import { applyActions, fillIn, type CaseAction, type TableFacts } from '../generator/policy-case.ts';
import type { PolicySet } from '../generator/shrink.ts';
import {
  acquireWorld,
  familiesOf,
  patchLabels,
  tablePod,
  toModelPod,
  worldLabel,
  type PodKey,
  type World,
} from './world.ts';

const clusterPolicies = { group: 'policy.networking.k8s.io', version: 'v1alpha2', plural: 'clusternetworkpolicies' };
const runIdLabel = 'plumbline.io/run-id';

export interface LiveTable {
  readonly t: CaseContext;
  readonly world: World;
  readonly families: readonly Family[];
  /** Pods of this moment, by `x/a`. */
  readonly pods: Map<PodKey, ProbePod>;
  /** What the cluster has been told so far. */
  model: Model;
  /** What was expected of each cell by the last comparison; at first, that all are open. */
  expected: ReadonlyMap<string, boolean>;
  /** Real names of namespaces that the case itself made. */
  readonly ownNamespaces: Map<string, string>;
}

/** Opens a world for this case; it is put back as it was, and given back, in the case's teardown. */
export async function openTable(t: CaseContext): Promise<LiveTable> {
  const world = await acquireWorld(t);
  const table: LiveTable = {
    t,
    world,
    families: familiesOf(world),
    pods: new Map(world.pods),
    model: world.atRest,
    expected: new Map(),
    ownNamespaces: new Map(),
  };
  t.onTeardown(async () => {
    try {
      await restore(table);
    } catch (error) {
      world.release(false);
      throw error;
    }
    world.release(true);
  });
  return table;
}

/** Carries out the actions in order. `family` is the one of address blocks. */
export async function perform(table: LiveTable, actions: readonly CaseAction[], family: Family): Promise<void> {
  for (const action of actions) {
    const facts = factsOf(table, family);
    const bound = scoped(table, fillIn(action, facts));
    await carryOut(table, bound);
    table.model = withRealPods(table, applyActions(table.model, [bound], factsOf(table, family)));
  }
}

/** Replaces all policies of the case by these. */
export async function replacePolicies(
  table: LiveTable,
  { policies, clusterPolicies: cluster }: PolicySet,
): Promise<void> {
  const { model, t } = table;
  const nameOf = ({ metadata }: KubernetesObject): string => `${metadata?.namespace}/${metadata?.name}`;
  const wanted = new Set([...policies, ...cluster].map(nameOf));
  const same = (one: object, other: object | undefined): boolean => JSON.stringify(one) === JSON.stringify(other);
  await Promise.all([
    ...model.policies
      .filter((one) => !wanted.has(nameOf(one)))
      .map((one) => deletePolicy(t, one.metadata?.namespace ?? '', one.metadata?.name ?? '')),
    ...(model.clusterPolicies ?? [])
      .filter((one) => !wanted.has(nameOf(one)))
      .map((one) => deleteClusterPolicy(t, one.metadata?.name ?? '')),
  ]);
  for (const one of policies) {
    const before = model.policies.find((other) => nameOf(other) === nameOf(one));
    if (!same(one, before)) await putPolicy(t, one, before !== undefined);
  }
  for (const one of cluster) {
    const before = (model.clusterPolicies ?? []).find((other) => nameOf(other) === nameOf(one));
    if (!same(one, before)) await putClusterPolicy(t, one, before !== undefined);
  }
  table.model = { ...model, policies, clusterPolicies: cluster };
}

function factsOf({ world, pods, ownNamespaces }: LiveTable, family: Family): TableFacts {
  return {
    namespaceName: (key) => world.namespaces.get(key) ?? ownNamespaces.get(key) ?? key,
    address: (namespace, pod) =>
      pods.get(`${namespace}/${pod}`)?.ips.find((ip) => familyOf(ip) === family) ?? unknownAddress[family],
  };
}

/** Stands for the address of a pod that has none in the family. */
const unknownAddress = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;

/** Other worlds have namespaces with the same labels: a ClusterNetworkPolicy must keep to its own. */
function scoped({ world, t }: LiveTable, action: CaseAction): CaseAction {
  if (action.kind !== 'put-cluster-policy') return action;
  const { policy } = action;
  const { subject } = policy.spec;
  const own = (selector: object = {}): object => ({
    ...selector,
    matchLabels: { ...('matchLabels' in selector ? (selector.matchLabels as object) : {}), [worldLabel]: world.key },
  });
  return {
    ...action,
    policy: {
      ...policy,
      metadata: { ...policy.metadata, name: `plumb-${t.runId}-${world.key}-${policy.metadata?.name}` },
      spec: {
        ...policy.spec,
        subject:
          subject.pods === undefined
            ? { namespaces: own(subject.namespaces) }
            : { pods: { ...subject.pods, namespaceSelector: own(subject.pods.namespaceSelector) } },
      },
    },
  };
}

async function carryOut(table: LiveTable, action: CaseAction): Promise<void> {
  const { t, world, pods, model } = table;
  const namespaceOf = (key: string): string => factsOf(table, 4).namespaceName(key);
  switch (action.kind) {
    case 'put-policy': {
      const { name, spec } = action.policy;
      const metadata = { namespace: namespaceOf(action.policy.in), name };
      const there = model.policies.some(
        (one) => one.metadata?.namespace === metadata.namespace && one.metadata?.name === name,
      );
      return putPolicy(t, { metadata, spec }, there);
    }
    case 'delete-policy':
      return deletePolicy(t, namespaceOf(action.in), action.name);
    case 'put-cluster-policy': {
      const there = (model.clusterPolicies ?? []).some(
        ({ metadata }) => metadata?.name === action.policy.metadata?.name,
      );
      return putClusterPolicy(t, action.policy, there);
    }
    case 'label-pod': {
      const pod = { kind: 'Pod', namespace: namespaceOf(action.in), name: action.pod } as const;
      return void (await patchLabels(t, pod, action.labels));
    }
    case 'label-namespace':
      return void (await patchLabels(t, { kind: 'Namespace', name: namespaceOf(action.namespace) }, action.labels));
    case 'create-pod': {
      const key = `${action.in}/${action.pod}`;
      const shape = tablePod(action.in, action.pod);
      const labels = { ...shape.labels, ...action.labels };
      pods.set(key, await t.probes.pod({ ...shape, labels, namespace: namespaceOf(action.in) }));
      return;
    }
    case 'delete-pod':
      pods.delete(`${action.in}/${action.pod}`);
      return deletePod(t, namespaceOf(action.in), action.pod);
    case 'create-namespace': {
      const labels = { ...action.labels, [worldLabel]: world.key };
      table.ownNamespaces.set(action.namespace, await t.namespace(action.namespace, { labels }));
      return;
    }
    case 'delete-namespace': {
      const name = namespaceOf(action.namespace);
      for (const key of [...pods.keys()].filter((one) => one.startsWith(`${action.namespace}/`))) pods.delete(key);
      await t.kube.request({ method: 'DELETE', path: `/api/v1/namespaces/${name}/pods?gracePeriodSeconds=0` });
      await t.kube.core.deleteNamespace({ name });
      await t.kube.waitForObject(
        { apiVersion: 'v1', kind: 'Namespace', name },
        (object) => (object === undefined ? done(undefined) : pending('it is there')),
        { description: `namespace ${name} to be gone`, signal: t.signal },
      );
    }
  }
}

/** Pods that a step has made are where the scheduler put them, and namespaces have more labels than they were asked to have. */
function withRealPods({ pods, t }: LiveTable, model: Model): Model {
  const real = [...pods.values()];
  return {
    ...model,
    pods: model.pods.map((pod) => {
      const found = real.find(({ namespace, name }) => namespace === pod.namespace && name === pod.name);
      return found === undefined ? pod : { ...toModelPod(found), labels: { ...found.labels, ...pod.labels } };
    }),
    namespaces: new Map([...model.namespaces].map(([name, labels]) => [name, { ...labels, [runIdLabel]: t.runId }])),
  };
}

async function putPolicy(t: CaseContext, policy: V1NetworkPolicy, there: boolean): Promise<void> {
  const { namespace = '', name = '' } = policy.metadata ?? {};
  const body = { ...policy, metadata: { namespace, name } };
  await (there
    ? t.kube.networking.replaceNamespacedNetworkPolicy({ namespace, name, body })
    : t.kube.networking.createNamespacedNetworkPolicy({ namespace, body }));
}

async function deletePolicy(t: CaseContext, namespace: string, name: string): Promise<void> {
  await ignoreAbsence(t.kube.networking.deleteNamespacedNetworkPolicy({ namespace, name }));
}

async function putClusterPolicy(t: CaseContext, policy: ClusterNetworkPolicy, there: boolean): Promise<void> {
  const { name = '' } = policy.metadata ?? {};
  const body = { ...policy, metadata: { name, labels: { [runIdLabel]: t.runId } } };
  if (there) await deleteClusterPolicy(t, name);
  const stored = (await t.kube.custom.createClusterCustomObject({ ...clusterPolicies, body })) as ClusterNetworkPolicy;
  const lost = firstLost(policy.spec, stored.spec);
  if (lost === undefined) return;
  await deleteClusterPolicy(t, name);
  t.skip(`the cluster’s ClusterNetworkPolicy has no field ${lost}`);
}

async function deleteClusterPolicy(t: CaseContext, name: string): Promise<void> {
  await ignoreAbsence(t.kube.custom.deleteClusterCustomObject({ ...clusterPolicies, name }));
}

/** Path of the first field that the server did not keep: its definition of the kind does not know it. */
function firstLost(sent: unknown, stored: unknown, path = 'spec'): string | undefined {
  if (typeof sent !== 'object' || sent === null) return undefined;
  for (const [key, value] of Object.entries(sent)) {
    const kept = (stored as Record<string, unknown> | undefined)?.[key];
    if (kept === undefined) return `${path}.${key}`;
    const deeper = firstLost(value, kept, `${path}.${key}`);
    if (deeper !== undefined) return deeper;
  }
  return undefined;
}

async function deletePod(t: CaseContext, namespace: string, name: string): Promise<void> {
  await ignoreAbsence(t.kube.core.deleteNamespacedPod({ namespace, name, gracePeriodSeconds: 0 }));
  await t.kube.waitForObject(
    { apiVersion: 'v1', kind: 'Pod', namespace, name },
    (object) => (object === undefined ? done(undefined) : pending(`phase ${'status' in object}`)),
    { description: `pod ${namespace}/${name} to be gone` },
  );
}

/** Takes away what the case added to the world, and gives back the labels that it changed. */
async function restore(table: LiveTable): Promise<void> {
  const { t, world, pods, model } = table;
  await Promise.all([
    ...model.policies
      .filter(({ metadata }) => [...world.namespaces.values()].includes(metadata?.namespace ?? ''))
      .map(({ metadata }) => deletePolicy(t, metadata?.namespace ?? '', metadata?.name ?? '')),
    ...(model.clusterPolicies ?? []).map(({ metadata }) => deleteClusterPolicy(t, metadata?.name ?? '')),
    ...[...pods]
      .filter(([key, { namespace }]) => !world.pods.has(key) && [...world.namespaces.values()].includes(namespace))
      .map(([, { namespace, name }]) => deletePod(t, namespace, name)),
    ...world.atRest.pods.flatMap((pod) => {
      const now = model.pods.find(({ namespace, name }) => namespace === pod.namespace && name === pod.name);
      return now === undefined || sameLabels(now.labels, pod.labels)
        ? []
        : [relabel(t, { kind: 'Pod', namespace: pod.namespace, name: pod.name }, [now.labels, pod.labels])];
    }),
    ...[...world.namespaces.values()].flatMap((name) => {
      const [now = {}, before = {}] = [model.namespaces.get(name), world.atRest.namespaces.get(name)];
      return sameLabels(now, before) ? [] : [relabel(t, { kind: 'Namespace', name }, [now, before])];
    }),
  ]);
}

type LabelsOf = Readonly<Record<string, string>>;

function sameLabels(one: LabelsOf, other: LabelsOf): boolean {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].every((key) => one[key] === other[key]);
}

async function relabel(
  t: CaseContext,
  place: Parameters<typeof patchLabels>[1],
  [now, before]: readonly [LabelsOf, LabelsOf],
): Promise<void> {
  const added = Object.keys(now).filter((key) => !(key in before));
  const labels = { ...before, ...Object.fromEntries(added.map((key) => [key, null])) };
  await patchLabels(t, place, labels);
}

async function ignoreAbsence(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof ApiException && error.code === 404)) throw error;
  }
}

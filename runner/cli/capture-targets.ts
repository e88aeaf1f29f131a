// SPDX-License-Identifier: Apache-2.0
/** What `plumb capture` is asked to look at: pods by name, by owner or by label, and nodes. */
import type { V1LabelSelector, V1Pod } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { Problem } from '../problem.ts';
import type { NetworkObjects } from '../target/network-objects.ts';

export interface TargetFlagsOfCapture {
  readonly namespace?: string;
  readonly allNamespaces?: true;
  readonly selector?: string;
  readonly node: readonly string[];
  readonly all?: true;
}

export interface CaptureTargets {
  readonly pods: readonly V1Pod[];
  readonly nodes: readonly string[];
}

type Workload = { readonly path: string; readonly kind: string };

const workloads: Readonly<Record<string, Workload>> = {
  deployment: { path: 'apis/apps/v1', kind: 'deployments' },
  statefulset: { path: 'apis/apps/v1', kind: 'statefulsets' },
  daemonset: { path: 'apis/apps/v1', kind: 'daemonsets' },
  replicaset: { path: 'apis/apps/v1', kind: 'replicasets' },
  job: { path: 'apis/batch/v1', kind: 'jobs' },
  service: { path: 'api/v1', kind: 'services' },
};
/** kubectl's short and plural forms. */
const aliases: Readonly<Record<string, string>> = {
  deploy: 'deployment',
  deployments: 'deployment',
  sts: 'statefulset',
  statefulsets: 'statefulset',
  ds: 'daemonset',
  daemonsets: 'daemonset',
  rs: 'replicaset',
  replicasets: 'replicaset',
  jobs: 'job',
  svc: 'service',
  services: 'service',
  po: 'pod',
  pods: 'pod',
  no: 'node',
  nodes: 'node',
};

/** Throws a Problem that names what was not found. */
export async function resolveTargets(
  kube: KubeClients,
  named: readonly string[],
  input: { readonly flags: TargetFlagsOfCapture; readonly objects: NetworkObjects; readonly namespace: string },
): Promise<CaptureTargets> {
  const { flags, objects, namespace } = input;
  const nodes = new Set(flags.all === true ? objects.nodes.map(({ metadata }) => metadata?.name ?? '') : flags.node);
  const pods = new Map<string, V1Pod>();
  const take = (found: readonly V1Pod[]): void => {
    for (const pod of found) pods.set(pod.metadata?.uid ?? '', pod);
  };
  for (const one of named) {
    const [first = '', name] = one.split('/', 2) as [string, string | undefined];
    const kind = name === undefined ? 'pod' : (aliases[first] ?? first);
    if (kind === 'node') nodes.add(name ?? '');
    else if (kind === 'pod') take([podNamed(objects, namespace, name ?? first)]);
    else take(await podsOf(kube, one, { kind, name: name ?? '', namespace }));
  }
  if (flags.selector !== undefined) {
    const found =
      flags.allNamespaces === true
        ? await kube.core.listPodForAllNamespaces({ labelSelector: flags.selector })
        : await kube.core.listNamespacedPod({ namespace, labelSelector: flags.selector });
    if (found.items.length === 0)
      throw new Problem(
        `no pod with labels ${flags.selector}${flags.allNamespaces === true ? '' : ` in namespace ${namespace}`}`,
        'Look with: kubectl get pods -A --show-labels',
      );
    take(found.items);
  } else if (flags.allNamespaces === true && named.length === 0 && nodes.size === 0) take(objects.pods);
  for (const node of nodes) {
    if (!objects.nodes.some(({ metadata }) => metadata?.name === node))
      throw new Problem(`there is no node ${node}`, 'Look with: kubectl get nodes');
  }
  const running = [...pods.values()].filter(({ status }) => status?.phase === 'Running');
  if (running.length === 0 && nodes.size === 0)
    throw new Problem(
      pods.size === 0 ? 'nothing was named to capture at' : 'none of these pods is running',
      'Name pods (pod/a, deploy/web, -l app=x) or nodes (--node n1, --all).',
    );
  return { pods: running, nodes: [...nodes] };
}

function podNamed({ pods }: NetworkObjects, namespace: string, name: string): V1Pod {
  const found = pods.find(({ metadata }) => metadata?.namespace === namespace && metadata.name === name);
  if (found !== undefined) return found;
  const elsewhere = pods.filter(({ metadata }) => metadata?.name === name).map(({ metadata }) => metadata?.namespace);
  throw new Problem(
    `there is no pod ${name} in namespace ${namespace}`,
    elsewhere.length > 0
      ? `There is one in ${elsewhere.join(', ')}: add -n ${elsewhere[0]}.`
      : 'Name its namespace with -n.',
  );
}

async function podsOf(
  kube: KubeClients,
  written: string,
  of: { readonly kind: string; readonly name: string; readonly namespace: string },
): Promise<V1Pod[]> {
  const workload = workloads[of.kind];
  if (workload === undefined)
    throw new Problem(
      `${written}: "${of.kind}" has no pods`,
      `Use pod, node, ${Object.keys(workloads).join(', ')}, or kubectl's short forms of them.`,
    );
  const path = `/${workload.path}/namespaces/${of.namespace}/${workload.kind}/${of.name}`;
  const answer = await kube.request({ path });
  if (answer.status !== 200)
    throw new Problem(
      `${written} in namespace ${of.namespace}: the API server answered ${answer.status}`,
      'Name its namespace with -n.',
    );
  const { spec } = answer.json() as { spec?: { selector?: unknown } };
  const selector = of.kind === 'service' ? { matchLabels: spec?.selector as Record<string, string> } : spec?.selector;
  const labelSelector = selectorText((selector ?? {}) as V1LabelSelector);
  if (labelSelector === '') throw new Problem(`${written} selects no pods`, 'Name the pods themselves.');
  const { items } = await kube.core.listNamespacedPod({ namespace: of.namespace, labelSelector });
  if (items.length === 0) throw new Problem(`${written} has no pods (${labelSelector})`, 'Look with: kubectl get pods');
  return items;
}

function selectorText({ matchLabels = {}, matchExpressions = [] }: V1LabelSelector): string {
  const operators: Readonly<Record<string, string>> = { In: 'in', NotIn: 'notin' };
  return [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values = [] }) => {
      if (operator === 'Exists') return key;
      if (operator === 'DoesNotExist') return `!${key}`;
      return `${key} ${operators[operator]} (${values.join(',')})`;
    }),
  ].join(',');
}

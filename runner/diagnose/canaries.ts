// SPDX-License-Identifier: Apache-2.0
/**
 * A small pod of our own on each node, with an address of its own: whether new pods get a network, and how soon a policy that forbids it holds.
 * They lie in the command's namespace and go with it.
 */
import type { V1Pod } from '@kubernetes/client-node';
import { probePod } from '../../probes/agent/pod-manifests.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { done } from '../../suites/case.ts';
import { runLabels } from '../execute/run-labels.ts';
import type { OwnNodeAccess } from '../target/node-access.ts';
import { podProgress } from '../target/probe-pod.ts';
import type { CanarySeen } from './canary-diagnoses.ts';
import { readEventsOf } from './read-control-plane.ts';
import { awaitMost } from './stragglers.ts';
import type { Site } from './visit-nodes.ts';

export interface CanaryOptions {
  readonly kube: KubeClients;
  readonly access: OwnNodeAccess;
  readonly nodes: readonly string[];
  /** Whose sessions ask the canaries. */
  readonly sites: Promise<ReadonlyMap<string, Site>>;
}

const port = 8080;
const lifeSeconds = 180;
const startMs = 30_000;
const closeMs = 15_000;
const connectSeconds = 1;
/** Its value is the canary's name. */
const canaryLabel = 'plumbline.io/canary';

/** Never rejects: what could not be made or asked is absent. */
export async function releaseCanaries(options: CanaryOptions): Promise<CanarySeen[]> {
  const { kube, access, nodes } = options;
  const { namespace } = access;
  const names = new Map(nodes.map((node, index) => [node, `canary-${index}`]));
  const started = performance.now();
  const { done: running } = await awaitMost(
    nodes,
    async (node) => ({
      pod: await start(names.get(node) ?? '', node, options),
      startedMs: performance.now() - started,
    }),
    startMs,
  );
  const closing = await closeAll(new Map([...running].map(([node, { pod }]) => [node, pod])), options);
  return Promise.all(
    nodes.map(async (node): Promise<CanarySeen> => {
      const startedMs = running.get(node)?.startedMs;
      const name = names.get(node) ?? '';
      const said = startedMs === undefined ? await readEventsOf(kube, { namespace, name }) : [];
      return { node, startedMs, said, ...closing.get(node) };
    }),
  );
}

async function start(name: string, node: string, { kube, access }: CanaryOptions): Promise<V1Pod> {
  const { namespace, runId, image, signal } = access;
  const body = probePod({
    name,
    namespace,
    image,
    labels: { ...runLabels(runId), [canaryLabel]: name },
    listen: [],
    container: { command: ['/bin/busybox', 'httpd', '-f', '-p', String(port), '-h', '/tmp'] },
    spec: {
      nodeName: node,
      tolerations: [{ operator: 'Exists' }],
      activeDeadlineSeconds: lifeSeconds,
      restartPolicy: 'Never',
    },
  });
  await kube.core.createNamespacedPod({ namespace, body });
  return kube.waitForObject<V1Pod, V1Pod>(
    { apiVersion: 'v1', kind: 'Pod', name, namespace },
    (pod) =>
      pod?.status?.podIP !== undefined && pod.status.containerStatuses?.[0]?.state?.running !== undefined
        ? done(pod)
        : podProgress(pod, image),
    { description: `the canary on ${node} to run`, timeoutMs: startMs, signal },
  );
}

type Closing = Pick<CanarySeen, 'closedMs' | 'openMs' | 'unreached'>;

/** Asks each from another node, makes a policy that lets nobody in where somebody was, and goes on asking until nobody is answered, or most have long been silent. */
async function closeAll(pods: ReadonlyMap<string, V1Pod>, options: CanaryOptions): Promise<Map<string, Closing>> {
  const sites = await options.sites;
  const sources = [...sites.keys()];
  const found = new Map<string, Closing>();
  const doors = [...pods].flatMap(([node, pod]) => {
    const source = sources[(sources.indexOf(node) + 1) % sources.length];
    const session = source === undefined || source === node ? undefined : sites.get(source)?.session;
    const address = pod.status?.podIP;
    return session === undefined || source === undefined || address === undefined
      ? []
      : [{ node, session, source, address, pod }];
  });
  const open = await Promise.all(doors.map(async (door) => ({ door, isOpen: await connects(door) })));
  const asked = new Map(open.filter(({ isOpen }) => isOpen).map(({ door }) => [door.node, door]));
  for (const { door, isOpen } of open)
    if (!isOpen) found.set(door.node, { unreached: { pod: door.pod, from: door.source, port } });
  const names = [...asked.values()].map(({ pod }) => pod.metadata?.name ?? '');
  if (asked.size === 0 || !(await forbid(names, options))) return found;
  const since = performance.now();
  const watch = async (node: string): Promise<void> => {
    const door = asked.get(node);
    for (;;) {
      const at = performance.now() - since;
      if (door === undefined || !(await connects(door))) return void found.set(node, { closedMs: at });
      found.set(node, { openMs: at });
    }
  };
  await awaitMost([...asked.keys()], watch, closeMs);
  return new Map(found);
}

async function connects({ session, address }: { session: NodeSession; address: string }): Promise<boolean> {
  try {
    const argv = ['/bin/busybox', 'nc', '-w', String(connectSeconds), address, String(port)];
    const { exitCode } = await session.run(argv, { timeoutMs: 5_000 });
    return exitCode === 0;
  } catch {
    return false;
  }
}

/** Those that were not reached stay open: why not is still to be traced. */
async function forbid(names: readonly string[], { kube, access }: CanaryOptions): Promise<boolean> {
  const { namespace, runId } = access;
  const response = await kube.request({
    method: 'POST',
    path: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`,
    body: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'closed', labels: runLabels(runId) },
      spec: {
        podSelector: { matchExpressions: [{ key: canaryLabel, operator: 'In', values: names }] },
        policyTypes: ['Ingress'],
      },
    },
  });
  return response.status === 201;
}

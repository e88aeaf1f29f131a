// SPDX-License-Identifier: Apache-2.0
/**
 * Node probes for one command: a privileged namespace of its own, a pod per node that is asked for, a session in each. Everything goes when the
 * command ends; if it is killed, its Lease runs out and the first probe deletes the namespace.
 */
import { randomBytes } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import { nodeProbePod, probeContainer } from '../../probes/agent/pod-manifests.ts';
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import { NodeSession, sessionCommand } from '../../probes/node-session/node-session.ts';
import { collectNodeState } from '../../probes/node-state/collect.ts';
import { done } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { cleanUp, leftovers } from '../execute/cleanup.ts';
import { createNamespace, deleteNamespace } from '../execute/namespaces.ts';
import { holdLease, leaseName, type RunLease } from '../execute/run-lease.ts';
import { runLabels } from '../execute/run-labels.ts';
import { podProgress } from './probe-pod.ts';

export interface NodeAccessOptions {
  readonly kube: KubeClients;
  /** Part of the namespace's name: `capture`, `trace`. */
  readonly purpose: string;
  readonly image: string;
  /** After this many seconds the kubelets end the probes on their own. */
  readonly lifeSeconds: number;
  readonly signal: AbortSignal;
}

export interface OwnNodeAccess extends NodeAccess {
  readonly namespace: string;
  readonly runId: string;
  readonly image: string;
  /** Aborted when the access is closed. */
  readonly signal: AbortSignal;
  close(): Promise<void>;
}

const leaseSeconds = 12;
const startMs = 60_000;

/** Errors: ApiException where the namespace may not be made. */
export async function openNodeAccess(options: NodeAccessOptions): Promise<OwnNodeAccess> {
  const { kube, purpose, image, lifeSeconds } = options;
  // What still waits for a probe when the command ends must not keep it.
  const ending = new AbortController();
  const signal = AbortSignal.any([options.signal, ending.signal]);
  const runId = `${purpose}-${randomBytes(4).toString('hex')}`;
  const namespace = await createNamespace(kube, {
    runId,
    purpose,
    podSecurity: 'privileged',
    makeAccount: true,
    signal,
  });
  let lease: RunLease | undefined;
  try {
    [lease] = await Promise.all([
      holdLease(kube, runId, { namespace, durationS: leaseSeconds }),
      allowKeeper(kube, namespace, runId),
    ]);
  } catch (error) {
    await deleteNamespace(kube, namespace);
    throw error;
  }
  // What earlier commands left behind, if even their keepers were killed.
  const sweeping = new AbortController();
  const swept = sweep(kube, purpose, AbortSignal.any([signal, sweeping.signal]));
  const pods = new Map<string, Promise<string>>();
  const sessions = new Map<string, Promise<NodeSession>>();

  const start = async (node: string): Promise<string> => {
    const name = `node-${randomBytes(3).toString('hex')}`;
    const keeper = pods.size === 0 ? { keeperOfLease: leaseName } : {};
    const manifest = nodeProbePod({ name, namespace, image, labels: runLabels(runId), node, lifeSeconds, ...keeper });
    await kube.core.createNamespacedPod({ namespace, body: manifest });
    await kube.waitForObject<V1Pod, V1Pod>(
      { apiVersion: 'v1', kind: 'Pod', name, namespace },
      (pod) => {
        const running = pod?.status?.containerStatuses?.[0]?.state?.running;
        return running !== undefined && pod !== undefined ? done(pod) : podProgress(pod, image);
      },
      { description: `the node probe on ${node} to run`, timeoutMs: startMs, signal },
    );
    return name;
  };
  const podOn = (node: string): Promise<string> => remember(pods, node, () => start(node));
  const session = (node: string): Promise<NodeSession> =>
    remember(sessions, node, async () => {
      const pod = await podOn(node);
      return NodeSession.open(kube.config, {
        node,
        namespace,
        pod,
        container: probeContainer,
        command: sessionCommand,
      });
    });
  return {
    namespace,
    runId,
    image,
    signal,
    session,
    // Through the session, as each exec of its own costs the node a process more and a tenth of a second.
    state: async (node) => {
      const open = await session(node);
      return collectNodeState({ node, exec: (command, { timeoutMs }) => open.output(command, timeoutMs) });
    },
    close: async () => {
      ending.abort();
      // One that is still being opened is closed as soon as it is there, or ends with its pod.
      for (const one of sessions.values()) void one.then((open) => open.close()).catch(() => undefined);
      // What the sweep has asked to be deleted goes by itself; its end is not waited for.
      sweeping.abort();
      await swept;
      await lease?.stop();
      await deleteNamespace(kube, namespace);
    },
  };
}

function remember<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const there = known.get(key);
  if (there !== undefined) return there;
  const made = make();
  known.set(key, made);
  // A failed start is not remembered: the node may come back.
  made.catch(() => known.delete(key));
  return made;
}

/** Within its own namespace the probe may read the Lease and delete the namespace. Who may not grant that does without. */
async function allowKeeper(kube: KubeClients, namespace: string, runId: string): Promise<void> {
  const metadata = { name: 'plumb-keeper', labels: runLabels(runId) };
  try {
    await kube.rbac.createNamespacedRole({
      namespace,
      body: {
        metadata,
        rules: [
          { apiGroups: ['coordination.k8s.io'], resources: ['leases'], resourceNames: [leaseName], verbs: ['get'] },
          { apiGroups: [''], resources: ['namespaces'], resourceNames: [namespace], verbs: ['delete'] },
        ],
      },
    });
    await kube.rbac.createNamespacedRoleBinding({
      namespace,
      body: {
        metadata,
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: metadata.name },
        subjects: [{ kind: 'ServiceAccount', name: 'default', namespace }],
      },
    });
  } catch {
    // `plumb cleanup` and the next command remove what is left then.
  }
}

async function sweep(kube: KubeClients, purpose: string, signal: AbortSignal): Promise<void> {
  try {
    for (const runId of await leftovers(kube, signal))
      if (runId.startsWith(`${purpose}-`)) await cleanUp(kube, { runId, signal });
  } catch {
    // Somebody else's remains are no reason to fail.
  }
}

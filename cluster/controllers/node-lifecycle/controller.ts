// SPDX-License-Identifier: Apache-2.0
// Notices nodes that have fallen silent (no lease renewal, no status), marks them and their pods not ready, and keeps the
// taints that tell the scheduler and the eviction controller about it.
import type { Lease, Node, NodeCondition, Pod } from '../../machinery/api-types.ts';
import { isConflict, isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { setCondition, timestamp } from '../conditions.ts';
import { every } from '../controller.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isReady, isTerminating } from '../pod-state.ts';
import { planTaints } from './taints.ts';

export const nodeLifecycleController: Controller = {
  name: 'node-lifecycle-controller',
  serviceAccount: 'node-controller',
  setup,
};

const monitorPeriodMs = 1000;
const heartbeatConditions = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];

function setup(context: ControllerContext): Running {
  const { client, informers, now, settings } = context;
  const nodes = informers.get<Node>(resources.nodes);
  const leases = informers.get<Lease>(resources.leases);
  const pods = informers.get<Pod>(resources.pods);
  pods.addIndex('node', (pod) => [pod.spec?.nodeName ?? '']);
  const events = context.recorder('node-controller');
  const heartbeats = new Map<string, { sign: string; at: number }>();
  const queue = new WorkQueue({ name: 'node-lifecycle-controller', reconcile, backoff: { baseMs: 20, maxMs: 5000 } });

  nodes.onChange(({ type, object, old }) => {
    const name = object.metadata.name ?? '';
    if (type === 'deleted') {
      heartbeats.delete(name);
      return;
    }
    if (type === 'added')
      events.event(object, 'Normal', 'RegisteredNode', `Node ${name} event: Registered Node ${name} in Controller`);
    if (!old || planTaints(object, now()) || readyStatus(old) !== readyStatus(object)) queue.add(name);
  });
  pods.onChange(({ type, object }) => {
    const node = nodes.get(object.spec?.nodeName ?? '');
    if (type !== 'deleted' && node && readyStatus(node) !== 'True' && isReady(object))
      queue.add(node.metadata.name ?? '');
  });

  /** When the node last gave a sign of life, by this process's clock. */
  function lastHeartbeat(node: Node): number {
    const name = node.metadata.name ?? '';
    const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
    const sign = `${leases.get(name, 'kube-node-lease')?.spec?.renewTime}/${ready?.lastHeartbeatTime}`;
    const known = heartbeats.get(name);
    if (known?.sign === sign) return known.at;
    heartbeats.set(name, { sign, at: now() });
    return now();
  }

  function isSilent(node: Node): boolean {
    return now() - lastHeartbeat(node) > settings.nodeMonitorGracePeriodMs;
  }

  async function reconcile(name: string): Promise<void> {
    let node = nodes.get(name);
    if (!node || node.metadata.deletionTimestamp) return;
    const conditions = isSilent(node) ? unknownConditions(node, now()) : undefined;
    if (conditions) {
      const status = { ...node.status, conditions };
      node = await client.update<Node>(resources.nodes, { ...node, status }, { subresource: 'status' });
      events.event(node, 'Normal', 'NodeNotReady', `Node ${name} status is now: NodeNotReady`);
    }
    const taints = planTaints(node, now());
    if (taints) {
      const { resourceVersion } = node.metadata;
      await client.patch(resources.nodes, name, {
        type: 'merge',
        body: { metadata: { resourceVersion }, spec: { taints } },
      });
    }
    if (readyStatus(node) !== 'True') await Promise.all(pods.byIndex('node', name).filter(isReady).map(markNotReady));
  }

  async function markNotReady(pod: Pod): Promise<void> {
    if (isTerminating(pod)) return;
    const condition = { type: 'Ready', status: 'False' as const, lastTransitionTime: timestamp(now()) };
    const { name = '', namespace, uid } = pod.metadata;
    try {
      await client.patch(resources.pods, name, {
        namespace,
        type: 'strategic',
        subresource: 'status',
        body: { metadata: { uid }, status: { conditions: [condition] } },
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  return {
    queues: [queue],
    run: (signal) =>
      every(monitorPeriodMs, signal, () => {
        for (const node of nodes.list()) {
          if (isSilent(node) && unknownConditions(node, now())) queue.add(node.metadata.name ?? '');
        }
      }),
  };
}

function readyStatus(node: Node): string | undefined {
  return node.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
}

/** The conditions of a silent node, or undefined when they say already that nothing is known. */
export function unknownConditions(node: Node, now: number): NodeCondition[] | undefined {
  let conditions: NodeCondition[] = node.status?.conditions ?? [];
  let changed = false;
  for (const type of heartbeatConditions) {
    const old = conditions.find((condition) => condition.type === type);
    if (old?.status === 'Unknown') continue;
    changed = true;
    const reason = old ? 'NodeStatusUnknown' : 'NodeStatusNeverUpdated';
    const message = old ? 'Kubelet stopped posting node status.' : 'Kubelet never posted node status.';
    const { lastHeartbeatTime } = old ?? {};
    conditions = setCondition(
      conditions,
      { type, status: 'Unknown', reason, message, ...(lastHeartbeatTime && { lastHeartbeatTime }) },
      now,
    );
  }
  return changed ? conditions : undefined;
}

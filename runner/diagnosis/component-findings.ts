// SPDX-License-Identifier: Apache-2.0
/** Components that have fallen silent, by the Leases that they renew, the conditions that they report, and the drivers that they register. Pure. */
import type { V1CSINode, V1Lease, V1Node } from '@kubernetes/client-node';
import type { ClusterObjects } from './cluster-objects.ts';
import { objectName, type Component, type Finding } from './finding.ts';

/** Holders renew every 2 s and give up after 10 s (client-go's defaults, which kubeadm leaves as they are). */
const leaderSilentMs = 8_000;
/** Kubelets renew every quarter of the 40 s that their Leases last. */
const kubeletSilentMs = 22_000;

const leaders: readonly { readonly lease: string; readonly component: Component; readonly without: string }[] = [
  { lease: 'kube-scheduler', component: 'kube-scheduler', without: 'new pods stay Pending' },
  {
    lease: 'kube-controller-manager',
    component: 'kube-controller-manager',
    without: 'Deployments make no pods and Services get no endpoints',
  },
];

/** `now` is the API server's clock, milliseconds. */
export function componentFindings({ nodes, leases, csiNodes }: ClusterObjects, now: number): Finding[] {
  return [
    ...leaders.flatMap((leader) => silentLeader(leader, leases, now)),
    ...nodes.flatMap((node) => silentKubelet(node, leases, now)),
    ...missingDrivers(csiNodes, nodes),
  ];
}

function silentLeader(
  { lease: name, component, without }: (typeof leaders)[number],
  leases: readonly V1Lease[],
  now: number,
): Finding[] {
  const lease = leases.find(({ metadata }) => metadata?.namespace === 'kube-system' && metadata.name === name);
  const silentMs = silence(lease, now);
  if (lease === undefined || silentMs < leaderSilentMs) return [];
  return [
    {
      reason: 'component-down',
      component,
      objects: [objectName('Lease', lease.metadata)],
      summary: `${component} has not renewed its Lease for ${Math.round(silentMs / 1000)} s, and nobody has taken it over: ${without}`,
      evidence: [
        `holder ${lease.spec?.holderIdentity ?? 'nobody'}, renewed ${renewedAt(lease)}, lasts ${lease.spec?.leaseDurationSeconds ?? 0} s`,
      ],
      next: `Look at ${component} on the control-plane node of the holder: whether it runs, and the end of its log.`,
    },
  ];
}

function silentKubelet(node: V1Node, leases: readonly V1Lease[], now: number): Finding[] {
  const name = node.metadata?.name ?? '';
  const lease = leases.find(({ metadata }) => metadata?.namespace === 'kube-node-lease' && metadata.name === name);
  const silentMs = silence(lease, now);
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
  const base = { node: name, objects: [`Node ${name}`] };
  const condition = `condition Ready: ${ready?.status ?? 'none'} ${ready?.reason ?? ''} ${ready?.message ?? ''}`.trim();
  if (lease !== undefined && silentMs >= kubeletSilentMs) {
    return [
      {
        ...base,
        reason: 'component-down',
        component: 'kubelet',
        summary: `the kubelet of ${name} has not been heard of for ${Math.round(silentMs / 1000)} s`,
        evidence: [`its Lease was renewed ${renewedAt(lease)}`, condition],
        next: `On ${name}: systemctl status kubelet, and whether the node reaches the API server.`,
      },
    ];
  }
  if (ready === undefined || ready.status === 'True') return [];
  const message = ready.message ?? '';
  return [
    {
      ...base,
      reason: 'node-not-ready',
      ...blamed(message),
      summary: `${name} is not Ready: ${message || (ready.reason ?? 'no reason is given')}`,
      evidence: [condition],
      next: `kubectl describe node ${name}`,
    },
  ];
}

/** A kubelet's Ready message names what it waits for. */
function blamed(message: string): Pick<Finding, 'component'> & { reason?: string } {
  if (/network.*not ready|cni/i.test(message)) return { component: 'network', reason: 'cni' };
  if (/container runtime/i.test(message)) return { component: 'container-runtime' };
  return { component: 'kubelet' };
}

/** A driver that other nodes have, and this one lost. */
function missingDrivers(csiNodes: readonly V1CSINode[], nodes: readonly V1Node[]): Finding[] {
  const driversOf = ({ spec }: V1CSINode): string[] => (spec?.drivers ?? []).map(({ name }) => name);
  const schedulable = new Set(
    nodes
      .filter(({ spec }) => !(spec?.taints ?? []).some(({ effect }) => effect === 'NoSchedule'))
      .map(({ metadata }) => metadata?.name),
  );
  const workers = csiNodes.filter(({ metadata }) => schedulable.has(metadata?.name));
  const drivers = new Set(workers.flatMap(driversOf));
  return [...drivers].flatMap((driver) =>
    workers
      .filter((csiNode) => !driversOf(csiNode).includes(driver))
      .map(({ metadata }) => ({
        reason: 'component-down',
        component: 'storage' as const,
        node: metadata?.name ?? '',
        objects: [objectName('CSINode', metadata), `CSIDriver ${driver}`],
        summary: `${metadata?.name ?? ''} has no node plugin of the CSI driver ${driver}, which other nodes have`,
        evidence: [`CSINode ${metadata?.name ?? ''} lists no driver ${driver}`],
        next: `See that the DaemonSet of ${driver} has a running pod on the node.`,
      })),
  );
}

function silence(lease: V1Lease | undefined, now: number): number {
  const renewed = Date.parse(renewedAt(lease));
  return Number.isNaN(renewed) ? 0 : now - renewed;
}

function renewedAt(lease: V1Lease | undefined): string {
  return String(lease?.spec?.renewTime ?? '');
}

// SPDX-License-Identifier: Apache-2.0
/** The control plane, nodes and their kubelets, from Leases, conditions and answer times. Pure. */
import type { V1Node } from '@kubernetes/client-node';
import type { Diagnosis } from './diagnosis.ts';

export interface LeaseSeen {
  readonly namespace: string;
  readonly name: string;
  readonly holder: string;
  readonly durationSeconds: number;
  /** By the clock of whoever wrote it. */
  readonly renewedAt: number;
}

export interface ControlPlaneInput {
  readonly nodes: readonly V1Node[];
  readonly leases: readonly LeaseSeen[];
  /** Milliseconds since 1970 by the API server's clock, when the Leases were read. */
  readonly now: number;
  /** The same Leases some seconds later; who has renewed in between lives. Absent: they were read once. */
  readonly later?: { readonly leases: readonly LeaseSeen[]; readonly now: number };
  /** Milliseconds that requests took: plain reads, and writes to etcd, spread over a while. */
  readonly readMs: readonly number[];
  readonly writeMs: readonly number[];
  /** Checks of /readyz?verbose that failed. */
  readonly notReady: readonly string[];
  /** Names of CSI drivers by node. */
  readonly csiDrivers: Readonly<Record<string, readonly string[]>>;
}

const leaders = ['kube-scheduler', 'kube-controller-manager'] as const;
/** Leases last so many times their own duration before their holder counts as gone. */
const patience = 1.6;
/** Leaders renew every two seconds: seen twice without a renewal, this is long. */
const leaderPatienceMs = 8_000;
const kubeletPatienceMs = 25_000;
const slowMs = 300;

export function controlPlaneDiagnoses(input: ControlPlaneInput): Diagnosis[] {
  return [
    ...leaderDiagnoses(input),
    ...nodeDiagnoses(input),
    ...slowness(input),
    ...readiness(input),
    ...drivers(input),
  ];
}

/** Managed clusters may hide it. */
function leaderLease(leases: readonly LeaseSeen[], name: string): LeaseSeen | undefined {
  return leases.find((one) => one.namespace === 'kube-system' && one.name === name);
}

function leaderDiagnoses({ leases, now: readAt, later }: ControlPlaneInput): Diagnosis[] {
  return leaders.flatMap((name): Diagnosis[] => {
    const lease = leaderLease(leases, name);
    // Its absence says nothing.
    if (lease === undefined) return [];
    const again = leaderLease(later?.leases ?? [], name);
    if (again !== undefined && again.renewedAt !== lease.renewedAt) return [];
    const age = (later?.now ?? readAt) - lease.renewedAt;
    if (age < (again === undefined ? lease.durationSeconds * 1000 * patience : leaderPatienceMs)) return [];
    return [
      {
        reason: 'component-down',
        component: name,
        objects: [`Lease kube-system/${name}`],
        summary: `${name} does not work: nobody has renewed its Lease for ${Math.round(age / 1000)} s.`,
        evidence: [`last held by ${lease.holder}`, `it lasts ${lease.durationSeconds} s`],
        next: `Look at the process ${name} on the control plane, and its logs.`,
        weight: 92,
      },
    ];
  });
}

/** How long to look on until it is sure that a leader does not renew; 0: it has, or there is none to watch. */
export function stillToWatchMs(
  first: readonly LeaseSeen[],
  { leases, now }: { readonly leases: readonly LeaseSeen[]; readonly now: number },
): number {
  const waits = leaders.flatMap((name) => {
    const before = leaderLease(first, name);
    const after = leaderLease(leases, name);
    if (before === undefined || before.renewedAt !== after?.renewedAt) return [];
    return [leaderPatienceMs - (now - after.renewedAt)];
  });
  return Math.max(0, ...waits);
}

function nodeDiagnoses({ nodes, leases, now }: ControlPlaneInput): Diagnosis[] {
  return nodes.flatMap((node): Diagnosis[] => {
    const name = node.metadata?.name ?? '';
    const ready = (node.status?.conditions ?? []).find(({ type }) => type === 'Ready');
    const lease = leases.find((one) => one.namespace === 'kube-node-lease' && one.name === name);
    const age = lease === undefined ? 0 : now - lease.renewedAt;
    const about = (reason: string, component: string, summary: string, evidence: readonly string[]): Diagnosis => ({
      reason,
      component,
      node: name,
      objects: [`Node ${name}`],
      summary,
      evidence,
      next: `Look at ${component === 'network' ? 'the network plugin' : component} on ${name}, and its logs.`,
      weight: 90,
    });
    const evidence = [
      `Ready is ${ready?.status ?? 'missing'}: ${ready?.reason ?? ''} ${ready?.message ?? ''}`.trim(),
      `Lease renewed ${Math.round(age / 1000)} s ago`,
    ];
    if (ready?.status === 'False') {
      const said = ready.message ?? '';
      if (/cni|network plugin|NetworkReady=false/i.test(said))
        return [about('cni', 'network', `Node ${name} is not Ready: its network plugin is not configured.`, evidence)];
      if (/runtime|PLEG|containerd|cri/i.test(said))
        return [about('node-not-ready', 'container-runtime', `Node ${name} is not Ready: ${said}`, evidence)];
      return [about('node-not-ready', 'kubelet', `Node ${name} is not Ready: ${said}`, evidence)];
    }
    if (ready?.status !== 'True' || age > kubeletPatienceMs)
      return [
        about(
          'component-down',
          'kubelet',
          `The kubelet of ${name} does not report: its Lease was renewed ${Math.round(age / 1000)} s ago.`,
          evidence,
        ),
      ];
    return [];
  });
}

function slowness({ readMs, writeMs }: ControlPlaneInput): Diagnosis[] {
  if (!isSlow({ readMs, writeMs })) return [];
  const reads = third(readMs);
  const writes = third(writeMs);
  const etcd = writes > reads * 2;
  return [
    {
      reason: 'slow',
      component: etcd ? 'etcd' : 'kube-apiserver',
      objects: [],
      summary: `The API server is slow: a third of the reads take ${reads.toFixed(0)} ms or more, and of the writes ${writes.toFixed(0)} ms.`,
      evidence: [
        `reads: ${readMs.map((ms) => ms.toFixed(0)).join(' ')} ms`,
        `writes: ${writeMs.map((ms) => ms.toFixed(0)).join(' ')} ms`,
      ],
      next: etcd
        ? 'Look at the disk of etcd (etcd_disk_wal_fsync_duration_seconds) and at its load.'
        : 'Look at the load and the logs of the API server.',
      // What is broken makes API servers busy as well.
      weight: 73,
    },
  ];
}

/** A third of the answers decides: a server that stands still now and then answers the others at once. */
export function isSlow({ readMs, writeMs }: Pick<ControlPlaneInput, 'readMs' | 'writeMs'>): boolean {
  return Math.max(third(readMs), third(writeMs)) > slowMs;
}

function readiness({ notReady }: ControlPlaneInput): Diagnosis[] {
  if (notReady.length === 0) return [];
  const etcd = notReady.some((name) => name.includes('etcd'));
  return [
    {
      reason: 'component-down',
      component: etcd ? 'etcd' : 'kube-apiserver',
      objects: [],
      summary: `The API server is not ready: ${notReady.join(', ')}.`,
      evidence: notReady.map((name) => `/readyz: ${name} failed`),
      next: 'Look at the logs of the API server and of etcd.',
      weight: 95,
    },
  ];
}

/** A driver that most nodes have, and one has not. */
function drivers({ csiDrivers, nodes }: ControlPlaneInput): Diagnosis[] {
  const workers = nodes
    .filter(({ spec }) => !(spec?.taints ?? []).some(({ effect }) => effect === 'NoSchedule'))
    .map(({ metadata }) => metadata?.name ?? '');
  const all = new Set(workers.flatMap((name) => csiDrivers[name] ?? []));
  return [...all].flatMap((driver) => {
    const without = workers.filter((name) => !(csiDrivers[name] ?? []).includes(driver));
    if (without.length === 0 || without.length * 2 > workers.length) return [];
    return without.map((name): Diagnosis => ({
      reason: 'component-down',
      component: 'storage',
      node: name,
      objects: [`Node ${name}`, `CSINode ${name}`],
      summary: `Node ${name} has no CSI driver ${driver}, which the other nodes have.`,
      evidence: workers.map((one) => `${one}: ${(csiDrivers[one] ?? []).join(', ') || 'none'}`),
      next: `Look whether the driver's node plugin runs on ${name}.`,
      weight: 75,
    }));
  });
}

function third(values: readonly number[]): number {
  return values.toSorted((a, b) => b - a)[Math.floor(values.length / 3)] ?? 0;
}

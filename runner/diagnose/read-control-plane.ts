// SPDX-License-Identifier: Apache-2.0
/** Reads what tells about the control plane: Leases, answer times, readiness, CSI drivers, and events of pods that do not start. */
import { V1MicroTime } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { leaseName } from '../execute/run-lease.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import type { ControlPlaneInput, LeaseSeen } from './control-plane.ts';
import type { PodEvent } from './workloads.ts';

const turns = 5;

interface RawLease {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly renewTime?: string;
  };
}

/** What may not be read is left out. */
export async function readControlPlane(kube: KubeClients): Promise<Omit<ControlPlaneInput, 'nodes' | 'writeMs'>> {
  const [leases, drivers, ready] = await Promise.all([readLeases(kube), readDrivers(kube), readReadiness(kube)]);
  // By itself: beside others it would measure how long these take.
  const times = await measure(kube);
  return { leases, csiDrivers: drivers, notReady: ready, ...times };
}

export async function readLeases(kube: KubeClients): Promise<LeaseSeen[]> {
  const lists = await Promise.all(
    ['kube-system', 'kube-node-lease'].map((namespace) =>
      listItems<RawLease>(kube, `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`),
    ),
  );
  return lists.flat().map(({ metadata, spec }) => ({
    namespace: metadata.namespace,
    name: metadata.name,
    holder: spec?.holderIdentity ?? 'nobody',
    durationSeconds: spec?.leaseDurationSeconds ?? 15,
    renewedAt: Date.parse(spec?.renewTime ?? ''),
  }));
}

async function readDrivers(kube: KubeClients): Promise<Record<string, string[]>> {
  const items = await listItems<{ metadata: { name: string }; spec?: { drivers?: { name: string }[] } }>(
    kube,
    '/apis/storage.k8s.io/v1/csinodes',
  );
  return Object.fromEntries(
    items.map(({ metadata, spec }) => [metadata.name, (spec?.drivers ?? []).map(({ name }) => name)]),
  );
}

async function readReadiness(kube: KubeClients): Promise<string[]> {
  try {
    const { status, body } = await kube.request({ path: '/readyz?verbose' });
    if (status === 200 || status === 401 || status === 403 || status === 404) return [];
    return [...body.toString().matchAll(/^\[-\](\S+)/gm)].map(([, name = '']) => name);
  } catch {
    return [];
  }
}

/** Answer times, and the API server's clock. */
async function measure(kube: KubeClients): Promise<{ readMs: number[]; now: number }> {
  const readMs: number[] = [];
  let now = Date.now();
  for (let turn = 0; turn < turns; turn++) {
    const before = performance.now();
    const { headers } = await kube.request({ path: '/api/v1/namespaces/default' });
    readMs.push(performance.now() - before);
    const date = Date.parse(headers['date'] ?? headers['Date'] ?? '');
    if (!Number.isNaN(date)) now = date;
  }
  return { readMs, now };
}

/** Times of writes that go all the way to etcd: to the command's own Lease. */
export async function measureWrites(kube: KubeClients, namespace: string): Promise<number[]> {
  const writeMs: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const before = performance.now();
    const { status } = await kube.request({
      method: 'PATCH',
      path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${leaseName}`,
      headers: { 'Content-Type': 'application/merge-patch+json' },
      body: { spec: { renewTime: new V1MicroTime() } },
    });
    if (status === 200) writeMs.push(performance.now() - before);
  }
  return writeMs;
}

export async function readPodEvents(kube: KubeClients, { pods }: NetworkObjects): Promise<PodEvent[]> {
  const pending = pods
    .filter(({ status, spec }) => status?.phase === 'Pending' && spec?.nodeName !== undefined)
    .slice(0, 10);
  const lists = await Promise.all(
    pending.map(async ({ metadata }) => {
      const selector = encodeURIComponent(`involvedObject.name=${metadata?.name},type=Warning`);
      const items = await listItems<{ reason?: string; message?: string }>(
        kube,
        `/api/v1/namespaces/${metadata?.namespace}/events?fieldSelector=${selector}`,
      );
      return items.map(({ reason = '', message = '' }) => ({
        pod: `${metadata?.namespace}/${metadata?.name}`,
        reason,
        message,
      }));
    }),
  );
  return lists.flat();
}

async function listItems<T>(kube: KubeClients, path: string): Promise<T[]> {
  try {
    const response = await kube.request({ path });
    return response.status === 200 ? (response.json() as { items: T[] }).items : [];
  } catch {
    return [];
  }
}

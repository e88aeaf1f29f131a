// SPDX-License-Identifier: Apache-2.0
/** Reads what tells about the control plane: Leases, answer times, readiness, CSI drivers, and events of pods that do not start. */
import type { KubeClients } from '../../suites/kube-clients.ts';
import { renewLease } from '../execute/run-lease.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import { stillToWatchMs, type ControlPlaneInput, type LeaseSeen } from './control-plane.ts';
import type { EventWords, PodEvent } from './workloads.ts';

const turns = 10;
const betweenMs = 130;

interface RawLease {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly renewTime?: string;
  };
}

/** What may not be read is left out. */
export async function readControlPlane(
  kube: KubeClients,
): Promise<Pick<ControlPlaneInput, 'leases' | 'csiDrivers' | 'notReady' | 'now'>> {
  const [leases, csiDrivers, notReady, now] = await Promise.all([
    readLeases(kube),
    readDrivers(kube),
    readReadiness(kube),
    readClock(kube),
  ]);
  return { leases, csiDrivers, notReady, now };
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

/** Looks again, and goes on looking as long as a leader has not renewed its Lease and may still do so. */
export async function watchLeaders(
  kube: KubeClients,
  first: readonly LeaseSeen[],
  clock: () => number,
): Promise<{ readonly leases: readonly LeaseSeen[]; readonly now: number }> {
  for (;;) {
    const seen = { leases: await readLeases(kube), now: clock() };
    const wait = stillToWatchMs(first, seen);
    if (wait === 0) return seen;
    await new Promise((resolve) => setTimeout(resolve, Math.min(wait + 50, 500)));
  }
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

/** By the header of an answer; this machine's own where there is none. */
async function readClock(kube: KubeClients): Promise<number> {
  const { headers } = await kube.request({ path: '/version' });
  const date = Date.parse(headers['date'] ?? headers['Date'] ?? '');
  return Number.isNaN(date) ? Date.now() : date;
}

/**
 * Times of reads, and of writes that go all the way to etcd: to the command's own Lease. Spread over a while and begun whether or not those
 * before have ended: what stands still now and then would answer a row of them at once after the first.
 */
export async function measureAnswers(
  kube: KubeClients,
  namespace: string | undefined,
): Promise<Pick<ControlPlaneInput, 'readMs' | 'writeMs'>> {
  const read = (): Promise<{ status: number }> => kube.request({ path: '/api/v1/namespaces/default' });
  const [readMs, writeMs] = await Promise.all([
    measure(read),
    namespace === undefined ? [] : measure(() => renewLease(kube, namespace)),
  ]);
  return { readMs, writeMs };
}

async function measure(send: () => Promise<{ status: number }>): Promise<number[]> {
  const times: Promise<number | undefined>[] = [];
  for (let turn = 0; turn < turns; turn++) {
    if (turn > 0) await new Promise((resolve) => setTimeout(resolve, betweenMs));
    const before = performance.now();
    times.push(
      send().then(
        ({ status }) => (status === 200 ? performance.now() - before : undefined),
        () => undefined,
      ),
    );
  }
  return (await Promise.all(times)).filter((one) => one !== undefined);
}

/** The configuration of CoreDNS; the empty text where there is none or it may not be read. */
export async function readCorefile(kube: KubeClients): Promise<string> {
  try {
    const response = await kube.request({ path: '/api/v1/namespaces/kube-system/configmaps/coredns' });
    if (response.status !== 200) return '';
    return (response.json() as { data?: Record<string, string> }).data?.['Corefile'] ?? '';
  } catch {
    return '';
  }
}

export async function readPodEvents(kube: KubeClients, { pods }: NetworkObjects): Promise<PodEvent[]> {
  const pending = pods
    .filter(({ status, spec }) => status?.phase === 'Pending' && spec?.nodeName !== undefined)
    .slice(0, 10);
  const lists = await Promise.all(
    pending.map(async ({ metadata }) => {
      const { namespace = '', name = '' } = metadata ?? {};
      const events = await readEventsOf(kube, { namespace, name });
      return events.map((event) => ({ pod: `${namespace}/${name}`, ...event }));
    }),
  );
  return lists.flat();
}

/** Warnings about a pod. */
export async function readEventsOf(
  kube: KubeClients,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): Promise<EventWords[]> {
  const selector = encodeURIComponent(`involvedObject.name=${name},type=Warning`);
  const path = `/api/v1/namespaces/${namespace}/events?fieldSelector=${selector}`;
  const items = await listItems<{ reason?: string; message?: string }>(kube, path);
  return items.map(({ reason = '', message = '' }) => ({ reason, message }));
}

async function listItems<T>(kube: KubeClients, path: string): Promise<T[]> {
  try {
    const response = await kube.request({ path });
    return response.status === 200 ? (response.json() as { items: T[] }).items : [];
  } catch {
    return [];
  }
}

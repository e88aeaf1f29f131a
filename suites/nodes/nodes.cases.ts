// SPDX-License-Identifier: Apache-2.0
/** What a node says of itself: conditions, heartbeat, room, version, and what its kubelet reports. */
import { expect } from 'chai';
import { parsePrometheusText } from '../../probes/latency/prometheus-text.ts';
import { defineCase, done, pending } from '../case.ts';
import { createIdlePod, ready } from '../pods.ts';

const area = 'nodes';

export const conditions = defineCase(
  {
    id: 'nodes.conditions',
    area,
    title: 'Every node is Ready and under no pressure',
    description:
      'Each node MUST report Ready True, and MemoryPressure, DiskPressure and PIDPressure False; the network MUST NOT be reported unavailable.',
    requirements: ['000 §9', '001 §5'],
    modes: ['quick'],
  },
  async (t) => {
    for (const { metadata, status } of (await t.kube.core.listNode()).items) {
      const stateOf = (type: string): string | undefined =>
        status?.conditions?.find((condition) => condition.type === type)?.status;
      expect(stateOf('Ready'), `Ready of ${metadata?.name}`).to.equal('True');
      for (const type of ['MemoryPressure', 'DiskPressure', 'PIDPressure'])
        expect(stateOf(type), `${type} of ${metadata?.name}`).to.equal('False');
      expect(stateOf('NetworkUnavailable') ?? 'False', `NetworkUnavailable of ${metadata?.name}`).to.equal('False');
    }
  },
);

export const lease = defineCase(
  {
    id: 'nodes.lease.renewed',
    area,
    title: 'Every kubelet renews its lease',
    description:
      'The Lease of each node in kube-node-lease MUST be held by the node and be renewed within its own duration; without it a node is given up.',
    requirements: ['000 §9', '001 §5'],
    modes: ['full'],
    timeoutMs: 60_000,
  },
  async (t) => {
    const renewals = async (): Promise<Map<string, number>> => {
      const { items } = await t.kube.coordination.listNamespacedLease({ namespace: 'kube-node-lease' });
      return new Map(
        items
          .filter(({ metadata, spec }) => spec?.holderIdentity === metadata?.name)
          .map(({ metadata, spec }) => [metadata?.name ?? '', new Date(String(spec?.renewTime ?? 0)).getTime()]),
      );
    };
    const before = await renewals();
    const names = t.cluster.nodes.map(({ metadata }) => metadata?.name ?? '');
    await t.waitFor(
      'every node to renew its lease',
      async () => {
        const now = await renewals();
        const late = names.filter((name) => !((now.get(name) ?? 0) > (before.get(name) ?? 0)));
        return late.length === 0 ? done(undefined) : pending(`not renewed: ${late.join(', ')}`);
      },
      { timeoutMs: 25_000, intervalMs: 1_000 },
    );
  },
);

export const room = defineCase(
  {
    id: 'nodes.allocatable-and-version',
    area,
    title: 'Nodes offer no more than they have, and run a kubelet of a supported version',
    description:
      'CPU, memory and pods MUST be above zero in status.allocatable and at most status.capacity; the kubelet MUST NOT be newer than the API server, nor more than three minor versions older.',
    requirements: ['000 §9', '003 Nodes'],
    modes: ['full'],
  },
  async (t) => {
    for (const { metadata, status } of (await t.kube.core.listNode()).items) {
      for (const resource of ['cpu', 'memory', 'pods']) {
        const [allocatable, capacity] = [status?.allocatable, status?.capacity].map((all) => amountOf(all?.[resource]));
        expect(allocatable, `allocatable ${resource} of ${metadata?.name}`).to.be.above(0);
        expect(allocatable, `allocatable ${resource} of ${metadata?.name}`).to.be.at.most(capacity ?? 0);
      }
      const version = status?.nodeInfo?.kubeletVersion ?? '';
      const minor = Number(/^v1\.(\d+)/.exec(version)?.[1]);
      const skew = t.cluster.minor - minor;
      expect(skew, `minor versions of ${metadata?.name} (${version}) behind the server`).to.be.within(0, 3);
    }
  },
);

export const kubelet = defineCase(
  {
    id: 'nodes.kubelet.reports',
    area,
    title: 'A kubelet reports its pods and their use of the node through the API server',
    description:
      'Through the node proxy, /pods MUST list a pod that runs there, and /metrics/resource or /metrics MUST be Prometheus text with samples.',
    requirements: ['000 §9', '001 §5'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    await createIdlePod(t, { namespace, name: 'reported' });
    const pod = await ready(t, { namespace, name: 'reported' });
    const proxy = `/api/v1/nodes/${pod.spec?.nodeName}/proxy`;
    const pods = await t.kube.request({ path: `${proxy}/pods` });
    expect(pods.status, `answer to ${proxy}/pods`).to.equal(200);
    const { items } = pods.json() as { items: { metadata?: { uid?: string } }[] };
    expect(items.map(({ metadata }) => metadata?.uid)).to.include(pod.metadata?.uid);
    const metrics = await t.kube.request({ path: `${proxy}/metrics`, headers: { Accept: 'text/plain' } });
    expect(metrics.status, `answer to ${proxy}/metrics`).to.equal(200);
    expect(parsePrometheusText(metrics.body.toString()).length, 'samples').to.be.above(0);
  },
);

const factors: Readonly<Record<string, number>> = {
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

function amountOf(quantity: string | undefined): number {
  const [, number, suffix = ''] = /^([\d.]+)([a-zA-Z]*)$/.exec(quantity ?? '') ?? [];
  return Number(number) * (suffix === '' ? 1 : (factors[suffix] ?? Number.NaN));
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { V1PodSpec } from '@kubernetes/client-node';
import { defineCase, type CaseContext } from '../case.ts';
import { createIdlePod, scheduled, unschedulable } from '../pods.ts';

const area = 'scheduler';
const hostname = 'kubernetes.io/hostname';

export const fits = defineCase(
  {
    id: 'scheduler.resources.fit',
    area,
    title: 'A pod that asks for more than any node has stays Pending, with the reason',
    description:
      'The scheduler MUST NOT place a pod whose requests exceed what is allocatable, and MUST say what is insufficient.',
    requirements: ['000 §7', '001 §6', '003 Scheduler'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const asks = (name: string, requests: Record<string, string>) =>
      createIdlePod(t, { namespace, name }, { container: { resources: { requests } } });
    await asks('too-much-cpu', { cpu: '10000' });
    await asks('too-much-memory', { memory: '1000Ti' });
    await asks('modest', { cpu: '1m' });
    expect(await unschedulable(t, { namespace, name: 'too-much-cpu' })).to.match(
      /0\/\d+ nodes are available: .*Insufficient cpu/,
    );
    expect(await unschedulable(t, { namespace, name: 'too-much-memory' })).to.contain('Insufficient memory');
    expect(await scheduled(t, { namespace, name: 'modest' })).to.be.oneOf(names(t));
  },
);

export const nodeSelector = defineCase(
  {
    id: 'scheduler.node-selector',
    area,
    title: 'nodeSelector and required node affinity choose the node',
    description: 'A pod MUST land only on a node that its nodeSelector and its required node affinity match.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['quick'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const [first = '', second = ''] = t.cluster.workers;
    await createIdlePod(
      t,
      { namespace, name: 'selected' },
      { spec: { nodeSelector: { [hostname]: hostLabel(t, second) } } },
    );
    await createIdlePod(t, { namespace, name: 'not-in' }, { spec: affinityTo('NotIn', hostLabel(t, first)) });
    await createIdlePod(t, { namespace, name: 'nowhere' }, { spec: { nodeSelector: { [hostname]: 'no-such-host' } } });
    expect(await scheduled(t, { namespace, name: 'selected' })).to.equal(second);
    expect(await scheduled(t, { namespace, name: 'not-in' })).not.to.equal(first);
    expect(await unschedulable(t, { namespace, name: 'nowhere' })).to.contain(
      "didn't match Pod's node affinity/selector",
    );
  },
);

export const preferredAffinity = defineCase(
  {
    id: 'scheduler.node-affinity.preferred',
    area,
    title: 'A preferred node is taken while it has room, and only preferred',
    description:
      'A pod with a strong preference MUST land on the preferred node when it fits, and elsewhere when the preference matches nothing.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['full'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const [, second = ''] = t.cluster.workers;
    const preferring = (value: string): Partial<V1PodSpec> => ({
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 100, preference: { matchExpressions: [{ key: hostname, operator: 'In', values: [value] }] } },
          ],
        },
      },
    });
    await createIdlePod(t, { namespace, name: 'preferring' }, { spec: preferring(hostLabel(t, second)) });
    await createIdlePod(t, { namespace, name: 'dreaming' }, { spec: preferring('no-such-host') });
    expect(await scheduled(t, { namespace, name: 'preferring' })).to.equal(second);
    expect(await scheduled(t, { namespace, name: 'dreaming' })).to.be.oneOf(names(t));
  },
);

export const taints = defineCase(
  {
    id: 'scheduler.taints',
    area,
    title: 'A tainted node takes only pods that tolerate the taint',
    description:
      'While a node has a NoSchedule taint, a pod pinned to it MUST wait unless it tolerates the taint, and MUST be placed once the taint is gone.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['quick'],
    serial: true,
  },
  async (t) => {
    const namespace = await t.namespace();
    const node = t.cluster.workers.at(-1) ?? '';
    const taint = { key: `plumbline.io/${t.runId}`, value: 'taken', effect: 'NoSchedule' as const };
    await withTaint(t, node, taint, async (remove) => {
      const spec = { nodeSelector: { [hostname]: hostLabel(t, node) } };
      await createIdlePod(t, { namespace, name: 'plain' }, { spec });
      await createIdlePod(
        t,
        { namespace, name: 'other' },
        { spec: { ...spec, tolerations: [{ ...taint, value: 'another' }] } },
      );
      await createIdlePod(t, { namespace, name: 'tolerant' }, { spec: { ...spec, tolerations: [taint] } });
      expect(await scheduled(t, { namespace, name: 'tolerant' })).to.equal(node);
      expect(await unschedulable(t, { namespace, name: 'plain' })).to.contain('untolerated taint');
      expect(await unschedulable(t, { namespace, name: 'other' })).to.contain('untolerated taint');
      await remove();
      expect(await scheduled(t, { namespace, name: 'plain' })).to.equal(node);
    });
  },
);

export const antiAffinity = defineCase(
  {
    id: 'scheduler.pod-anti-affinity',
    area,
    title: 'Pods that repel each other land on different nodes, and one too many waits',
    description:
      'With required anti-affinity on the hostname, each node MUST take one pod of the group; the next MUST stay Pending until one goes.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['quick'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const group = { group: 'alone' };
    const spec: Partial<V1PodSpec> = {
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: hostname, labelSelector: { matchLabels: group } },
          ],
        },
      },
    };
    const members = names(t).map((_node, index) => `member-${index}`);
    for (const name of members) await createIdlePod(t, { namespace, name }, { labels: group, spec });
    const nodes = await Promise.all(members.map((name) => scheduled(t, { namespace, name })));
    expect(new Set(nodes).size, `distinct nodes of ${nodes.join(', ')}`).to.equal(members.length);
    await createIdlePod(t, { namespace, name: 'surplus' }, { labels: group, spec });
    expect(await unschedulable(t, { namespace, name: 'surplus' })).to.contain('anti-affinity');
    await t.kube.core.deleteNamespacedPod({ name: 'member-0', namespace });
    expect(await scheduled(t, { namespace, name: 'surplus' })).to.equal(nodes[0]);
  },
);

export const affinity = defineCase(
  {
    id: 'scheduler.pod-affinity',
    area,
    title: 'A pod follows the pod it wants to be near',
    description:
      'With required affinity to a pod, the next pod MUST land in the same topology domain, and MUST wait while there is no such pod.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['full'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const spec: Partial<V1PodSpec> = {
      affinity: {
        podAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: hostname, labelSelector: { matchLabels: { role: 'leader' } } },
          ],
        },
      },
    };
    await createIdlePod(t, { namespace, name: 'follower' }, { spec });
    expect(await unschedulable(t, { namespace, name: 'follower' })).to.contain('pod affinity');
    await createIdlePod(t, { namespace, name: 'leader' }, { labels: { role: 'leader' } });
    const node = await scheduled(t, { namespace, name: 'leader' });
    expect(await scheduled(t, { namespace, name: 'follower' })).to.equal(node);
  },
);

export const topologySpread = defineCase(
  {
    id: 'scheduler.topology-spread',
    area,
    title: 'Topology spread keeps the skew between nodes within its bound',
    description:
      'Six pods with maxSkew 1 over the hostname MUST be spread so that the fullest and the emptiest worker differ by at most one.',
    requirements: ['000 §7', '003 Scheduler'],
    modes: ['quick'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const labels = { app: 'spread' };
    const workers = t.cluster.workers;
    const spec: Partial<V1PodSpec> = {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: hostname,
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: labels },
          nodeTaintsPolicy: 'Honor',
        },
      ],
    };
    const pods = Array.from({ length: workers.length * 3 }, (_unused, index) => `spread-${index}`);
    for (const name of pods) await createIdlePod(t, { namespace, name }, { labels, spec });
    const nodes = await Promise.all(pods.map((name) => scheduled(t, { namespace, name })));
    const counts = workers.map((worker) => nodes.filter((node) => node === worker).length);
    expect(Math.max(...counts) - Math.min(...counts), `pods per worker: ${counts.join(', ')}`).to.be.at.most(1);
  },
);

export const hostPorts = defineCase(
  {
    id: 'scheduler.host-port',
    area,
    title: 'Two pods with the same host port do not share a node',
    description:
      'A pod whose host port is taken on the only node it may use MUST wait; with another protocol it MUST be placed.',
    requirements: ['000 §7', '001 §9'],
    modes: ['quick'],
  },
  async (t) => {
    // Host ports are beyond level restricted.
    const namespace = await t.namespace('ports', { podSecurity: 'privileged' });
    const node = t.cluster.workers[0] ?? '';
    const create = (name: string, protocol: 'TCP' | 'UDP') =>
      createIdlePod(
        t,
        { namespace, name },
        {
          spec: { nodeSelector: { [hostname]: hostLabel(t, node) } },
          container: { ports: [{ containerPort: 8080, hostPort: 54_321, protocol }] },
        },
      );
    await create('first', 'TCP');
    expect(await scheduled(t, { namespace, name: 'first' })).to.equal(node);
    await create('second', 'TCP');
    await create('udp', 'UDP');
    expect(await scheduled(t, { namespace, name: 'udp' })).to.equal(node);
    expect(await unschedulable(t, { namespace, name: 'second' })).to.contain("didn't have free ports");
  },
);

export const gates = defineCase(
  {
    id: 'scheduler.gates',
    area,
    title: 'A pod with scheduling gates is left alone until the last gate is lifted',
    description:
      'A gated pod MUST have no node and the reason SchedulingGated; once its gates are removed it MUST be placed.',
    requirements: ['003 Scheduler'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const where = { namespace, name: 'gated' };
    await createIdlePod(t, where, { spec: { schedulingGates: [{ name: 'plumbline.io/wait' }] } });
    await t.waitFor('the pod to be reported as gated', async () => {
      const pod = await t.kube.core.readNamespacedPod(where);
      expect(pod.spec?.nodeName).to.equal(undefined);
      const condition = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
      return condition?.reason === 'SchedulingGated'
        ? { done: true, value: undefined }
        : { done: false, state: String(condition?.reason) };
    });
    await t.kube.core.patchNamespacedPod({ ...where, body: [{ op: 'remove', path: '/spec/schedulingGates' }] });
    expect(await scheduled(t, where)).to.be.oneOf(names(t));
  },
);

/** Runs `body` while the node has the taint; the taint goes in any case. */
async function withTaint(
  t: CaseContext,
  node: string,
  taint: { readonly key: string; readonly value: string; readonly effect: 'NoSchedule' },
  body: (remove: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const change = async (add: boolean): Promise<void> => {
    const { spec } = await t.kube.core.readNode({ name: node });
    const others = (spec?.taints ?? []).filter(({ key }) => key !== taint.key);
    const value = add ? [...others, taint] : others;
    await t.kube.core.patchNode({ name: node, body: [{ op: 'add', path: '/spec/taints', value }] });
  };
  t.onTeardown(() => change(false));
  await change(true);
  await body(() => change(false));
}

function affinityTo(operator: string, value: string): Partial<V1PodSpec> {
  return {
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: hostname, operator, values: [value] }] }],
        },
      },
    },
  };
}

/** The value of the hostname label, which need not be the node's name. */
function hostLabel(t: CaseContext, node: string): string {
  return t.cluster.nodes.find(({ metadata }) => metadata?.name === node)?.metadata?.labels?.[hostname] ?? node;
}

function names(t: CaseContext): string[] {
  return [...t.cluster.workers];
}

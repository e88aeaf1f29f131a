// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Node, Pod, PodSpec } from '../machinery/api-types.ts';
import { SchedulerCache } from './cache.ts';
import type { FilterPlugin, PodInfo } from './framework.ts';
import { podInfo } from './pod-info.ts';
import { interPodAffinity } from './plugins/inter-pod-affinity.ts';
import { nodeAffinity, nodePorts, nodeUnschedulable, taintToleration } from './plugins/node-filters.ts';
import { balancedAllocation, leastAllocated, nodeResourcesFit } from './plugins/node-resources.ts';
import { podTopologySpread } from './plugins/pod-topology-spread.ts';
import { planPreemption } from './preemption.ts';
import { formatDiagnosis, selectNode } from './select-node.ts';

const filters: readonly FilterPlugin[] = [
  nodeUnschedulable,
  taintToleration,
  nodeAffinity,
  nodePorts,
  nodeResourcesFit,
  podTopologySpread,
  interPodAffinity(() => ({})),
];

let serial = 0;

function pod(spec: Partial<PodSpec> = {}, labels: Record<string, string> = {}): PodInfo {
  serial += 1;
  const value: Pod = {
    metadata: { name: `pod-${serial}`, namespace: 'default', uid: `uid-${serial}`, labels },
    spec: { containers: [{ name: 'c' }], ...spec },
  };
  return podInfo(value);
}

function asking(cpu: string, more: Partial<PodSpec> = {}): PodInfo {
  return pod({ containers: [{ name: 'c', resources: { requests: { cpu } } }], ...more });
}

function node(name: string, more: { labels?: Record<string, string>; spec?: Node['spec'] } = {}): Node {
  return {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...more.labels } },
    ...(more.spec === undefined ? {} : { spec: more.spec }),
    status: { allocatable: { cpu: '2', memory: '4Gi', pods: '110' } },
  };
}

function cacheOf(...nodes: readonly Node[]): SchedulerCache {
  const cache = new SchedulerCache();
  for (const value of nodes) cache.setNode(value);
  return cache;
}

/** The node's name, or the message that the pod's event shows. */
function place(cache: SchedulerCache, info: PodInfo, nominated: readonly PodInfo[] = []): string {
  const selection = selectNode({
    pod: info,
    snapshot: cache,
    filters,
    scores: [leastAllocated, balancedAllocation],
    nominated: () => nominated,
    startIndex: 0,
    random: () => 0,
  });
  return 'node' in selection ? selection.node.name : formatDiagnosis(selection.unschedulable);
}

describe('scheduler: selectNode', () => {
  it('counts reasons per node, sorted', () => {
    const cache = cacheOf(
      node('a', { spec: { taints: [{ key: 'node-role.kubernetes.io/control-plane', effect: 'NoSchedule' }] } }),
      node('b'),
      node('c'),
    );
    expect(place(cache, asking('3'))).to.equal(
      '0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu.',
    );
  });

  it('counts assumed pods at once and frees their room again', () => {
    const cache = cacheOf(node('a'));
    const first = asking('1500m');
    expect(place(cache, first)).to.equal('a');
    cache.placePod(first, 'a');
    expect(place(cache, asking('1'))).to.contain('Insufficient cpu');
    cache.removePod(first.uid);
    expect(place(cache, asking('1'))).to.equal('a');
  });

  it('prefers the emptier node', () => {
    const cache = cacheOf(node('a'), node('b'));
    cache.placePod(asking('1'), 'a');
    expect(place(cache, asking('500m'))).to.equal('b');
  });

  it('keeps the room of pods that preemption nominated', () => {
    const cache = cacheOf(node('a'));
    expect(place(cache, asking('1'), [asking('1500m', { priority: 10 })])).to.contain('Insufficient cpu');
  });

  it('takes host ports apart by address and protocol', () => {
    const cache = cacheOf(node('a'));
    const listening = (hostPort: number, hostIP?: string, protocol: 'TCP' | 'UDP' = 'TCP') =>
      pod({
        containers: [
          {
            name: 'c',
            ports: [{ containerPort: 80, hostPort, protocol, ...(hostIP === undefined ? {} : { hostIP }) }],
          },
        ],
      });
    cache.placePod(listening(8080, '127.0.0.1'), 'a');
    expect(place(cache, listening(8080, '127.0.0.2'))).to.equal('a');
    expect(place(cache, listening(8080, undefined, 'UDP'))).to.equal('a');
    expect(place(cache, listening(8080))).to.contain("node(s) didn't have free ports");
  });

  it('honours anti-affinity in both directions', () => {
    const cache = cacheOf(node('a'), node('b'));
    const alone: Partial<PodSpec> = {
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'x' } } },
          ],
        },
      },
    };
    cache.placePod(pod(alone, { app: 'x' }), 'a');
    expect(place(cache, pod(alone, { app: 'x' }))).to.equal('b');
    // The existing pod also keeps away one that has no affinity of its own.
    cache.deleteNode('b');
    expect(place(cache, pod({}, { app: 'x' }))).to.contain("node(s) didn't satisfy existing pods anti-affinity rules");
    expect(place(cache, pod({}, { app: 'y' }))).to.equal('a');
  });

  it('lets the first pod of a self-affine group start anywhere', () => {
    const cache = cacheOf(node('a'), node('b'));
    const together: Partial<PodSpec> = {
      affinity: {
        podAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'x' } } },
          ],
        },
      },
    };
    const first = pod(together, { app: 'x' });
    cache.placePod(first, place(cache, first));
    expect(place(cache, pod(together, { app: 'x' }))).to.equal(cache.nodeOf(first.uid));
  });

  it('spreads over domains within maxSkew', () => {
    const cache = cacheOf(node('a', { labels: { zone: '1' } }), node('b', { labels: { zone: '2' } }));
    const spread: Partial<PodSpec> = {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'zone',
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app: 'x' } },
        },
      ],
    };
    cache.placePod(pod(spread, { app: 'x' }), 'a');
    expect(place(cache, pod(spread, { app: 'x' }))).to.equal('b');
    cache.setNode(node('b', { labels: { zone: '2' }, spec: { unschedulable: true } }));
    expect(place(cache, pod(spread, { app: 'x' }))).to.equal(
      "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable.",
    );
  });
});

describe('scheduler: planPreemption', () => {
  const preempt = (cache: SchedulerCache, info: PodInfo) => {
    const selection = selectNode({
      pod: info,
      snapshot: cache,
      filters,
      scores: [],
      nominated: () => [],
      startIndex: 0,
      random: () => 0,
    });
    if ('node' in selection) throw new Error('expected the pod not to fit');
    return planPreemption({
      pod: info,
      snapshot: cache,
      filters,
      rejections: selection.unschedulable.rejections,
      budgets: [],
    });
  };

  it('evicts only those in the way, on the node where it hurts least', () => {
    const cache = cacheOf(node('a'), node('b'));
    const dear = asking('2', { priority: 50 });
    const cheap = asking('1500m', { priority: 1 });
    const bystander = asking('500m', { priority: 2 });
    cache.placePod(dear, 'a');
    cache.placePod(cheap, 'b');
    cache.placePod(bystander, 'b');
    const plan = preempt(cache, asking('1', { priority: 100 }));
    expect(plan).to.deep.equal({ nodeName: 'b', victims: [cheap] });
  });

  it('says why it does not help', () => {
    const cache = cacheOf(node('a'), node('b', { spec: { unschedulable: true } }));
    cache.placePod(asking('2', { priority: 100 }), 'a');
    expect(preempt(cache, asking('1', { priority: 100 }))).to.deep.equal({
      message:
        'preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.',
    });
    expect(preempt(cache, asking('1', { priority: 200, preemptionPolicy: 'Never' }))).to.deep.equal({
      message: 'preemption: not eligible due to preemptionPolicy=Never.',
    });
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { DaemonSet, Node, Pod, Taint } from '../../machinery/api-types.ts';
import { affinityTo, placement } from './nodes.ts';
import { daemonSetStatus, planDaemonSet, planUpdate } from './plan.ts';

const now = Date.parse('2026-01-01T00:00:00Z');

function daemonSet(spec: object = {}, pod: object = {}): DaemonSet {
  return {
    metadata: { name: 'd', namespace: 'x', uid: 'u' },
    spec: { template: { spec: { containers: [], ...pod } }, ...spec },
  };
}

function node(name: string, taints: Taint[] = []): Node {
  return { metadata: { name, labels: { disk: name === 'n1' ? 'ssd' : 'hdd' } }, spec: { taints } };
}

/** `n1:old:ready`; further states are starting, failed and going. */
function pods(text: string): Pod[] {
  return text
    .split(' ')
    .filter((one) => one !== '')
    .map((one, index) => {
      const [name = '', hash = '', state] = one.split(':');
      return {
        metadata: {
          name: `${name}-${hash}-${index}`,
          creationTimestamp: new Date(now + index).toISOString(),
          labels: { 'controller-revision-hash': hash },
          ...(state === 'going' && { deletionTimestamp: 'now' }),
        },
        // Not bound yet: the node is known by the affinity only.
        spec: {
          containers: [],
          ...(state === 'starting' ? { affinity: affinityTo(name, undefined) } : { nodeName: name }),
        },
        status: {
          phase: state === 'failed' ? 'Failed' : 'Running',
          conditions: [
            {
              type: 'Ready',
              status: state === 'ready' ? 'True' : 'False',
              lastTransitionTime: new Date(now).toISOString(),
            },
          ],
        },
      };
    });
}

const nodes = [node('n1'), node('n2'), node('n3')];
const input = (set: DaemonSet, text: string, on: Node[] = nodes) => ({
  daemonSet: set,
  nodes: on,
  pods: pods(text),
  hash: 'new',
  now,
});
const names = (list: readonly Pod[]): string[] => list.map(({ metadata }) => metadata.name ?? '');

describe('controllers/daemonset plan', () => {
  it('wants one pod on each node, counting those that are not bound yet', () => {
    expect(planDaemonSet(input(daemonSet(), 'n1:new:ready n2:new:starting')).create).to.deep.equal(['n3']);
    expect(
      names(planDaemonSet(input(daemonSet(), 'n1:new:ready n1:new:ready n2:new:ready n3:new:ready')).remove),
    ).to.deep.equal(['n1-new-1']);
    expect(planDaemonSet(input(daemonSet(), 'n1:new:going n2:new:ready n3:new:ready'))).to.deep.equal({
      create: [],
      remove: [],
      failed: [],
    });
  });

  it('goes by selector, affinity, name and taints', () => {
    const runs = (set: DaemonSet, on: Node): string => Object.values(placement(set, on)).join();
    expect(runs(daemonSet({}, { nodeSelector: { disk: 'ssd' } }), node('n2'))).to.equal('false,false');
    expect(runs(daemonSet({}, { nodeName: 'n1' }), node('n1'))).to.equal('true,true');
    expect(runs(daemonSet(), node('n1', [{ key: 'a', effect: 'NoSchedule' }]))).to.equal('false,true');
    expect(runs(daemonSet(), node('n1', [{ key: 'a', effect: 'NoExecute' }]))).to.equal('false,false');
    expect(runs(daemonSet(), node('n1', [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }]))).to.equal(
      'true,true',
    );
    const term = { matchExpressions: [{ key: 'disk', operator: 'NotIn', values: ['hdd'] }] };
    const affinity = {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } },
    };
    expect(runs(daemonSet({}, { affinity }), node('n1'))).to.equal('true,true');
    expect(runs(daemonSet({}, { affinity }), node('n2'))).to.equal('false,false');
  });

  it('removes pods of nodes that are gone or no longer wanted, and tells of failed ones', () => {
    const plan = planDaemonSet(
      input(daemonSet({}, { nodeSelector: { disk: 'ssd' } }), 'n1:new:failed n2:new:ready gone:new:ready'),
    );
    expect(names(plan.remove)).to.deep.equal(['n2-new-1', 'gone-new-2']);
    expect(names(plan.failed)).to.deep.equal(['n1-new-0']);
  });

  it('updates one node at a time, useless pods first', () => {
    expect(names(planUpdate(input(daemonSet(), 'n1:old:ready n2:old:ready n3:old:ready')).remove)).to.deep.equal([
      'n1-old-0',
    ]);
    expect(names(planUpdate(input(daemonSet(), 'n1:new:starting n2:old:ready n3:old:ready')).remove)).to.deep.equal([]);
    expect(names(planUpdate(input(daemonSet(), 'n1:old:ready n2:old:starting n3:old:ready')).remove)).to.deep.equal([
      'n2-old-1',
    ]);
    const onDelete = daemonSet({ updateStrategy: { type: 'OnDelete' } });
    expect(planUpdate(input(onDelete, 'n1:old:ready'))).to.deep.equal({ create: [], remove: [] });
  });

  it('with a surge, starts the new pod first and removes the old one when it is available', () => {
    const surging = daemonSet({
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    });
    expect(planUpdate(input(surging, 'n1:old:ready n2:old:ready n3:old:ready'))).to.deep.equal({
      create: ['n1'],
      remove: [],
    });
    expect(planUpdate(input(surging, 'n1:old:ready n1:new:starting n2:old:ready n3:old:ready')).create).to.deep.equal(
      [],
    );
    expect(
      planDaemonSet(input(surging, 'n1:old:ready n1:new:starting n2:old:ready n3:old:ready')).remove,
    ).to.deep.equal([]);
    expect(
      names(planDaemonSet(input(surging, 'n1:old:ready n1:new:ready n2:old:ready n3:old:ready')).remove),
    ).to.deep.equal(['n1-old-0']);
  });

  it('counts', () => {
    expect(
      daemonSetStatus(input(daemonSet({}, { nodeSelector: { disk: 'ssd' } }), 'n1:new:ready n2:old:ready'), 0),
    ).to.include({
      desiredNumberScheduled: 1,
      currentNumberScheduled: 1,
      numberMisscheduled: 1,
      updatedNumberScheduled: 1,
      numberAvailable: 1,
    });
  });
});

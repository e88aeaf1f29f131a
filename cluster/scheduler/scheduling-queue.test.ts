// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ClusterEvent } from './framework.ts';
import { podInfo } from './pod-info.ts';
import { SchedulingQueue } from './scheduling-queue.ts';

const pod = (name: string, priority = 0) =>
  podInfo({ metadata: { name, uid: name }, spec: { priority, containers: [{ name: 'c' }] } });

describe('scheduler: SchedulingQueue', () => {
  let now = 0;
  let queue: SchedulingQueue;

  beforeEach(() => {
    now = 0;
    queue = new SchedulingQueue({ now: () => now, onReady: () => undefined });
  });
  afterEach(() => queue.stop());

  const pop = () => queue.pop()?.info.uid;

  it('pops by priority, then in order of arrival', () => {
    for (const [name, priority] of [
      ['a', 0],
      ['b', 5],
      ['c', 0],
      ['d', 5],
    ] as const)
      queue.add(pod(name, priority));
    expect([pop(), pop(), pop(), pop(), pop()]).to.deep.equal(['b', 'd', 'a', 'c', undefined]);
  });

  it('wakes a parked pod only by an event that can cure it', () => {
    queue.add(pod('a'));
    pop();
    queue.parkUnschedulable('a', new Set<ClusterEvent>(['pod-deleted']));
    now = 60_000;
    queue.onEvent('node-labels');
    expect(pop()).to.equal(undefined);
    queue.onEvent('pod-deleted');
    expect(pop()).to.equal('a');
  });

  it('does not lose an event that comes while the pod is in flight', () => {
    queue.add(pod('a'));
    pop();
    queue.onEvent('pod-deleted');
    now = 60_000;
    queue.parkUnschedulable('a', new Set<ClusterEvent>(['pod-deleted']));
    expect(pop()).to.equal('a');
  });

  it('backs off before the next try', () => {
    queue.add(pod('a'));
    pop();
    queue.retry('a');
    expect(queue.sizes).to.deep.equal({ active: 0, backoff: 1, unschedulable: 0 });
  });

  it('forgets deleted pods wherever they are', () => {
    queue.add(pod('a'));
    queue.delete('a');
    expect(pop()).to.equal(undefined);
    queue.add(pod('b'));
    pop();
    queue.delete('b');
    queue.parkUnschedulable('b', new Set());
    expect(queue.sizes).to.deep.equal({ active: 0, backoff: 0, unschedulable: 0 });
  });
});

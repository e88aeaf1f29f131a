// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod, PodSpec, PodStatus } from '../../machinery/api-types.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';
import { computePodStatus } from './pod-status.ts';
import type { PodStatusInput } from './pod-status.ts';

const podOf = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u', generation: 3 },
  spec: { restartPolicy: 'Always', containers: [{ name: 'a', image: 'i:1' }], ...spec },
});

const running = (name: string, more: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id: `id-${name}`,
  name,
  sandboxId: 's',
  attempt: 0,
  state: 'running',
  createdAt: 1e18,
  startedAt: 1e18,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i:1',
  imageId: 'sha256:1',
  definition: '',
  logPath: '',
  user: undefined,
  ...more,
});
const exited = (name: string, exitCode: number, more: Partial<ContainerRecord> = {}): ContainerRecord =>
  running(name, { state: 'exited', exitCode, finishedAt: 1e18 + 1e9, ...more });

function statusOf(pod: Pod, containers: ContainerRecord[], more: Partial<PodStatusInput> = {}): PodStatus {
  const runtime: PodRuntime = {
    uid: 'u',
    name: 'p',
    namespace: 'n',
    sandboxes: [{ id: 's', ready: true, attempt: 0, createdAt: 1, ips: ['10.1.1.1', 'fd00::1'], hostNetwork: false }],
    containers,
  };
  return computePodStatus({
    pod,
    runtime,
    previous: {},
    waiting: new Map(),
    started: () => true,
    ready: () => true,
    hostIPs: ['192.0.2.1'],
    ending: false,
    verdict: undefined,
    now: 1_700_000_000_000,
    ...more,
  });
}

const condition = (status: PodStatus, type: string) => status.conditions?.find((one) => one.type === type);

describe("a pod's status", () => {
  it('is Running and Ready, with addresses, ids and the generation it speaks of', () => {
    const status = statusOf(podOf(), [running('a')]);
    expect(status).to.include({
      phase: 'Running',
      podIP: '10.1.1.1',
      hostIP: '192.0.2.1',
      qosClass: 'BestEffort',
      observedGeneration: 3,
    });
    expect(status.podIPs).to.deep.equal([{ ip: '10.1.1.1' }, { ip: 'fd00::1' }]);
    expect(status.containerStatuses?.[0]).to.include({
      ready: true,
      started: true,
      containerID: 'containerd://id-a',
      restartCount: 0,
    });
    for (const type of ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled']) {
      expect(condition(status, type)?.status, type).to.equal('True');
    }
  });

  const phases: [string, Pod, ContainerRecord[], string, Partial<PodStatusInput>?][] = [
    ['nothing yet', podOf(), [], 'Pending'],
    ['an init container runs', podOf({ initContainers: [{ name: 'i' }] }), [running('i')], 'Pending'],
    [
      'an init container failed for good',
      podOf({ restartPolicy: 'Never', initContainers: [{ name: 'i' }] }),
      [exited('i', 1)],
      'Failed',
    ],
    [
      'an init container failed and is tried again',
      podOf({ initContainers: [{ name: 'i' }] }),
      [exited('i', 1)],
      'Pending',
    ],
    ['crashed and to be restarted', podOf(), [exited('a', 1)], 'Running'],
    ['all succeeded', podOf({ restartPolicy: 'OnFailure' }), [exited('a', 0)], 'Succeeded'],
    ['failed, to be tried again', podOf({ restartPolicy: 'OnFailure' }), [exited('a', 1)], 'Running'],
    ['failed for good', podOf({ restartPolicy: 'Never' }), [exited('a', 1)], 'Failed'],
    ['one of two has yet to start', podOf({ containers: [{ name: 'a' }, { name: 'b' }] }), [running('a')], 'Pending'],
    [
      'done, but a sidecar still runs',
      podOf({ restartPolicy: 'Never', initContainers: [{ name: 's', restartPolicy: 'Always' }] }),
      [exited('a', 0), running('s')],
      'Running',
    ],
    ['deleted, and exited with 0', podOf(), [exited('a', 0)], 'Succeeded', { ending: true }],
    ['deleted, and killed', podOf(), [exited('a', 137)], 'Failed', { ending: true }],
    ['final phases stay', podOf(), [running('a')], 'Failed', { previous: { phase: 'Failed' } }],
    ['rejected by the node', podOf(), [], 'Failed', { verdict: { phase: 'Failed', reason: 'OutOfcpu', message: 'm' } }],
  ];
  for (const [title, pod, containers, phase, more] of phases) {
    it(`phase: ${title} -> ${phase}`, () => expect(statusOf(pod, containers, more).phase).to.equal(phase));
  }

  it('shows CrashLoopBackOff as waiting, with the crash as last state', () => {
    const waiting = new Map([['a', { reason: 'CrashLoopBackOff', message: 'back-off 10s' }]]);
    const [status] =
      statusOf(podOf(), [exited('a', 7, { attempt: 2, message: 'boom' })], { waiting }).containerStatuses ?? [];
    expect(status?.state).to.deep.equal({ waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } });
    expect(status?.lastState?.terminated).to.include({ exitCode: 7, reason: 'Error', message: 'boom' });
    expect(status).to.include({ restartCount: 2, ready: false });
  });

  it('waits as PodInitializing while init containers run, themselves included, as ContainerCreating without them', () => {
    const reason = (pod: Pod): string | undefined => statusOf(pod, []).containerStatuses?.[0]?.state?.waiting?.reason;
    const withInit = podOf({ initContainers: [{ name: 'i' }] });
    expect(reason(withInit)).to.equal('PodInitializing');
    expect(statusOf(withInit, []).initContainerStatuses?.[0]?.state?.waiting?.reason).to.equal('PodInitializing');
    expect(reason(podOf())).to.equal('ContainerCreating');
  });

  it('names the containers that are not ready', () => {
    const status = statusOf(podOf(), [running('a')], { ready: () => false });
    expect(condition(status, 'Ready')).to.include({
      status: 'False',
      reason: 'ContainersNotReady',
      message: 'containers with unready status: [a]',
    });
  });

  it('is not Ready until its readiness gates are', () => {
    const gated = podOf({ readinessGates: [{ conditionType: 'example.com/x' }] });
    expect(condition(statusOf(gated, [running('a')]), 'Ready')).to.include({
      status: 'False',
      reason: 'ReadinessGatesNotReady',
    });
    const open = { ...gated, status: { conditions: [{ type: 'example.com/x', status: 'True' as const }] } };
    expect(condition(statusOf(open, [running('a')]), 'Ready')?.status).to.equal('True');
  });

  it('keeps the time of a condition that did not change, and what the runtime has forgotten', () => {
    const before = statusOf(podOf({ restartPolicy: 'Never' }), [exited('a', 3)]);
    const later = statusOf(podOf({ restartPolicy: 'Never' }), [], { previous: before, now: 1_800_000_000_000 });
    expect(condition(later, 'Initialized')?.lastTransitionTime).to.equal('2023-11-14T22:13:20Z');
    expect(later.containerStatuses?.[0]?.state?.terminated?.exitCode).to.equal(3);
    expect(later.phase).to.equal('Failed');
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Container, Pod, PodSpec } from '../../machinery/api-types.ts';
import { computePodActions } from './pod-actions.ts';
import type { ProbeVerdicts } from './pod-actions.ts';
import { definitionOf } from './pod-facts.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';

const container = (name: string, more: Partial<Container> = {}): Container => ({ name, image: 'i', ...more });

const podOf = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u' },
  spec: { restartPolicy: 'Always', containers: [container('a')], ...spec },
});

let clock = 1;
const record = (
  name: string,
  state: ContainerRecord['state'],
  more: Partial<ContainerRecord> = {},
): ContainerRecord => ({
  id: `${name}-${clock}`,
  name,
  sandboxId: 's',
  attempt: 0,
  state,
  createdAt: clock++,
  startedAt: 1,
  finishedAt: 2,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageId: 'sha',
  definition: definitionOf(container(name)),
  logPath: '',
  user: undefined,
  ...more,
});

const runtimeOf = (containers: ContainerRecord[], ready = true): PodRuntime => ({
  uid: 'u',
  name: 'p',
  namespace: 'n',
  sandboxes: [{ id: 's', ready, attempt: 0, createdAt: 1, ips: ready ? ['10.0.0.2'] : [], hostNetwork: false }],
  containers: containers.toSorted((a, b) => b.createdAt - a.createdAt),
});

const empty: PodRuntime = { uid: 'u', name: 'p', namespace: 'n', sandboxes: [], containers: [] };
const quiet: ProbeVerdicts = { liveness: () => 'unknown', startup: () => 'unknown' };

/** The decision in one line: what is made, stopped and started. */
function decide(pod: Pod, runtime: PodRuntime, probes: ProbeVerdicts = quiet): string {
  const { finish, createSandbox, stop, start } = computePodActions(pod, runtime, probes);
  return [
    ...(finish ? ['finish'] : []),
    ...(createSandbox ? [`sandbox#${createSandbox.attempt}`] : []),
    ...stop.map((action) => `stop ${action.record.name}`),
    ...start.map((action) => `start ${action.container.name}#${action.attempt}`),
  ].join(', ');
}

const sidecar = container('side', { restartPolicy: 'Always' });
const withInit = podOf({ initContainers: [container('i1'), sidecar, container('i2')] });
const gated = podOf({ initContainers: [{ ...sidecar, startupProbe: {} }] });
const never = { restartPolicy: 'Never' } as const;
const onFailure = { restartPolicy: 'OnFailure' } as const;

describe('what to do next for a pod', () => {
  const cases: [string, Pod, PodRuntime, string, ProbeVerdicts?][] = [
    ['starts from nothing with sandbox and containers', podOf({}), empty, 'sandbox#0, start a#0'],
    ['starts init containers first', withInit, empty, 'sandbox#0, start i1#0'],
    ['does nothing while all runs', podOf({}), runtimeOf([record('a', 'running')]), ''],
    ['restarts what exited', podOf({}), runtimeOf([record('a', 'exited', { attempt: 3 })]), 'start a#4'],
    [
      'restarts failures only under OnFailure',
      podOf(onFailure),
      runtimeOf([record('a', 'exited', { exitCode: 1 })]),
      'start a#1',
    ],
    ['ends when all succeeded under OnFailure', podOf(onFailure), runtimeOf([record('a', 'exited')]), 'finish'],
    ['ends whatever the code under Never', podOf(never), runtimeOf([record('a', 'exited', { exitCode: 1 })]), 'finish'],
    [
      'keeps going while one of two still runs under Never',
      podOf({ ...never, containers: [container('a'), container('b')] }),
      runtimeOf([record('a', 'exited'), record('b', 'running')]),
      '',
    ],
    [
      'makes a new sandbox when the old one died',
      podOf({}),
      runtimeOf([record('a', 'exited')], false),
      'sandbox#1, start a#1',
    ],
    [
      'does not start again in a new sandbox under Never',
      podOf(never),
      runtimeOf([record('a', 'exited', { exitCode: 1 })], false),
      'finish',
    ],
    [
      'replaces a changed definition even under Never',
      podOf(never),
      runtimeOf([record('a', 'running', { definition: 'old' })]),
      'stop a, start a#1',
    ],
    [
      'leaves containers of another kubelet alone',
      podOf({}),
      runtimeOf([record('a', 'running', { definition: '' })]),
      '',
    ],
    [
      'restarts on failed liveness',
      podOf({ containers: [container('a', { livenessProbe: {} })] }),
      runtimeOf([record('a', 'running')]),
      'stop a, start a#1',
      { ...quiet, liveness: () => 'failure' },
    ],
    [
      'only stops on failed liveness under Never',
      podOf({ ...never, containers: [container('a', { livenessProbe: {} })] }),
      runtimeOf([record('a', 'running')]),
      'stop a',
      { ...quiet, liveness: () => 'failure' },
    ],
    ['waits for a running init container', withInit, runtimeOf([record('i1', 'running')]), ''],
    [
      'goes on after a finished init container, sidecar next',
      withInit,
      runtimeOf([record('i1', 'exited')]),
      'start side#0',
    ],
    [
      'starts the next once the sidecar runs',
      withInit,
      runtimeOf([record('i1', 'exited'), record('side', 'running')]),
      'start i2#0',
    ],
    ['waits for a sidecar with a startup probe', gated, runtimeOf([record('side', 'running')]), ''],
    [
      'goes on when the startup probe succeeded',
      gated,
      runtimeOf([record('side', 'running')]),
      'start a#0',
      { ...quiet, startup: () => 'success' },
    ],
    [
      'starts the app containers after all init containers',
      withInit,
      runtimeOf([record('i1', 'exited'), record('side', 'running'), record('i2', 'exited')]),
      'start a#0',
    ],
    [
      'tries a failed init container again',
      withInit,
      runtimeOf([record('i1', 'exited', { exitCode: 1 })]),
      'start i1#1',
    ],
    [
      'gives up on a failed init container under Never',
      podOf({ ...never, initContainers: [container('i1')] }),
      runtimeOf([record('i1', 'exited', { exitCode: 1 })]),
      'finish',
    ],
    [
      'revives a sidecar while app containers run',
      podOf({ initContainers: [sidecar] }),
      runtimeOf([record('side', 'exited'), record('a', 'running')]),
      'start side#1',
    ],
    [
      'does not revive a sidecar after the app containers are done',
      podOf({ ...never, initContainers: [sidecar] }),
      runtimeOf([record('side', 'exited'), record('a', 'exited')]),
      'finish',
    ],
    [
      'does not run init containers again for a restarted app container',
      withInit,
      runtimeOf([record('side', 'running'), record('a', 'exited')]),
      'start a#1',
    ],
    [
      'starts an ephemeral container once',
      podOf({ ephemeralContainers: [{ name: 'debug' }] }),
      runtimeOf([record('a', 'running')]),
      'start debug#0',
    ],
    [
      'never starts an ephemeral container again',
      podOf({ ephemeralContainers: [{ name: 'debug' }] }),
      runtimeOf([record('a', 'running'), record('debug', 'exited')]),
      '',
    ],
    [
      "obeys a container's own exit code rule",
      podOf({
        ...never,
        containers: [
          container('a', { restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }] }),
        ],
      }),
      runtimeOf([record('a', 'exited', { exitCode: 42 })]),
      'start a#1',
    ],
  ];
  for (const [title, pod, runtime, expected, probes] of cases) {
    it(title, () => expect(decide(pod, runtime, probes)).to.equal(expected));
  }
});

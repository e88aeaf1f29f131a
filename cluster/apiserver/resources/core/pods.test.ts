// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod } from '../../../machinery/api-types.ts';
import type { KubeObject } from '../definition.ts';
import { told, testConfig, testContext } from '../testing.ts';
import { summarizePod } from './pod-columns.ts';
import { pods } from './pods.ts';

const definition = pods(testConfig);
const container = { name: 'c', image: 'nginx' };

function pod(spec: object, status?: object): KubeObject {
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default' },
    spec: structuredClone(spec),
  };
  definition.default?.(object);
  definition.prepareForCreate?.(object, testContext());
  return status === undefined ? object : { ...object, status };
}

describe('pods', () => {
  it('get the defaults that clients rely on', () => {
    const { spec, status } = pod({
      containers: [
        { ...container, ports: [{ containerPort: 80 }], resources: { limits: { cpu: '1', memory: '1Gi' } } },
        { name: 'd', image: 'reg:5000/x@sha256:0', readinessProbe: { httpGet: { port: 80 } } },
      ],
      volumes: [{ name: 'v' }, { name: 's', secret: { secretName: 'x' } }],
    }) as unknown as Pod;
    expect(spec).to.deep.include({
      restartPolicy: 'Always',
      dnsPolicy: 'ClusterFirst',
      schedulerName: 'default-scheduler',
      securityContext: {},
      terminationGracePeriodSeconds: 30,
      enableServiceLinks: true,
    });
    expect(spec?.containers[0]).to.deep.include({
      imagePullPolicy: 'Always',
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      ports: [{ containerPort: 80, protocol: 'TCP' }],
      resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } },
    });
    expect(spec?.containers[1]?.imagePullPolicy).to.equal('IfNotPresent');
    expect(spec?.containers[1]?.readinessProbe).to.deep.include({
      timeoutSeconds: 1,
      periodSeconds: 10,
      failureThreshold: 3,
    });
    expect(spec?.volumes).to.deep.equal([
      { name: 'v', emptyDir: {} },
      { name: 's', secret: { secretName: 'x', defaultMode: 0o644 } },
    ]);
    expect(status).to.deep.equal({ phase: 'Pending', qosClass: 'Burstable' });
  });

  const wrong: readonly (readonly [what: string, spec: object, errors: readonly string[]])[] = [
    ['no containers', {}, ['spec.containers: Required value']],
    [
      'two containers of one name',
      { containers: [container], initContainers: [container] },
      ['spec.initContainers[0].name: Duplicate value'],
    ],
    [
      'a request above its limit',
      { containers: [{ ...container, resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }] },
      ['spec.containers[0].resources.requests: Invalid value: must be less than or equal to cpu limit of 1'],
    ],
    [
      'a mount without a volume',
      { containers: [{ ...container, volumeMounts: [{ name: 'v', mountPath: '/v' }] }] },
      ['spec.containers[0].volumeMounts[0].name: Not found'],
    ],
    [
      'a port out of range',
      { containers: [{ ...container, ports: [{ containerPort: 70_000 }] }] },
      ['spec.containers[0].ports[0].containerPort: Invalid value: must be between 1 and 65535, inclusive'],
    ],
    [
      'a liveness probe with a success threshold',
      { containers: [{ ...container, livenessProbe: { tcpSocket: { port: 1 }, successThreshold: 2 } }] },
      ['spec.containers[0].livenessProbe.successThreshold: Invalid value: must be 1'],
    ],
    [
      'a probe on an init container that ends',
      {
        containers: [container],
        initContainers: [{ ...container, name: 'i', livenessProbe: { tcpSocket: { port: 1 } } }],
      },
      [
        'spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always',
      ],
    ],
    [
      'two sources in one volume',
      { containers: [container], volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/' } }] },
      ['spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type'],
    ],
    [
      'dnsPolicy None without servers',
      { containers: [container], dnsPolicy: 'None' },
      ['spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None'],
    ],
    [
      'a toleration of everything that compares',
      { containers: [container], tolerations: [{ operator: 'Equal', value: 'x' }] },
      [
        'spec.tolerations[0].operator: Invalid value: operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ],
    ],
  ];
  for (const [what, spec, errors] of wrong) {
    it(`are refused with ${what}`, () => {
      expect(told(definition.validate?.(pod(spec), testContext()) ?? [])).to.deep.equal(errors);
    });
  }

  it('change only where they may', () => {
    const old = pod({ containers: [container], tolerations: [{ key: 'a', operator: 'Exists' }] });
    const changed = (change: (spec: NonNullable<Pod['spec']>) => void): string[] => {
      const next = structuredClone(old);
      change((next as unknown as Pod).spec ?? { containers: [] });
      return told(definition.validateUpdate?.(next, old, testContext()) ?? []).map((text) => text.slice(0, 60));
    };
    expect(changed((spec) => Object.assign(spec.containers[0] ?? {}, { image: 'other' }))).to.deep.equal([]);
    expect(changed((spec) => spec.tolerations?.push({ key: 'b', operator: 'Exists' }))).to.deep.equal([]);
    expect(changed((spec) => (spec.activeDeadlineSeconds = 5))).to.deep.equal([]);
    expect(changed((spec) => (spec.nodeName = 'n'))[0]).to.match(
      /^spec: Forbidden: pod updates may not change fields other/,
    );
    expect(changed((spec) => spec.tolerations?.pop())[0]).to.match(/^spec.tolerations: Forbidden: existing toleration/);
    expect(changed((spec) => spec.containers.push({ ...container, name: 'x' }))[0]).to.match(
      /^spec.containers: Forbidden: pod updates may not add/,
    );
  });

  it('end at once while nothing runs, else in their own time', () => {
    const grace = definition.gracePeriodSeconds;
    const bound = pod({ containers: [container], nodeName: 'n' });
    expect(grace?.(pod({ containers: [container] }), 10)).to.equal(0);
    expect(grace?.(bound, undefined)).to.equal(30);
    expect(grace?.(bound, 0)).to.equal(0);
    expect(grace?.({ ...bound, status: { phase: 'Succeeded' } }, undefined)).to.equal(0);
  });

  const waiting = (reason: string) => ({
    name: 'c',
    ready: false,
    restartCount: 2,
    state: { waiting: { reason } },
    lastState: { terminated: { finishedAt: '2026-01-01T00:00:00Z' } },
  });
  const shown: readonly (readonly [status: object, text: string])[] = [
    [{ phase: 'Pending' }, '0/1 Pending 0'],
    [{ phase: 'Running', containerStatuses: [waiting('CrashLoopBackOff')] }, '0/1 CrashLoopBackOff 2'],
    [
      { phase: 'Running', containerStatuses: [{ name: 'c', ready: true, restartCount: 0, state: { running: {} } }] },
      '1/1 Running 0',
    ],
    [
      {
        phase: 'Succeeded',
        containerStatuses: [
          { name: 'c', ready: false, restartCount: 0, state: { terminated: { exitCode: 0, reason: 'Completed' } } },
        ],
      },
      '0/1 Completed 0',
    ],
    [
      {
        phase: 'Pending',
        initContainerStatuses: [{ name: 'i', ready: false, restartCount: 0, state: { running: {} } }],
      },
      '0/1 Init:0/1 0',
    ],
    [
      { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] },
      '0/1 SchedulingGated 0',
    ],
  ];
  for (const [status, text] of shown) {
    it(`are shown as ${text}`, () => {
      const object = pod({ containers: [container], initContainers: [{ name: 'i', image: 'x' }] }, status);
      const { ready, total, status: word, restarts } = summarizePod(object as unknown as Pod);
      expect(`${ready}/${total} ${word} ${restarts}`).to.equal(text);
    });
  }
});

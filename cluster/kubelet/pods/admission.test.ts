// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Node, Pod, PodSpec } from '../../machinery/api-types.ts';
import { admit } from './admission.ts';
import type { AdmissionInput } from './admission.ts';

const podOf = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'p', namespace: 'n' },
  spec: { containers: [], ...spec },
});
const asking = (requests: Record<string, string>): Pod =>
  podOf({ containers: [{ name: 'a', resources: { requests } }] });
const onPort = (hostPort: number, hostIP?: string): Pod =>
  podOf({ containers: [{ name: 'a', ports: [{ containerPort: 1, hostPort, ...(hostIP && { hostIP }) }] }] });
const node: Node = {
  metadata: { name: 'node', labels: { disk: 'ssd' } },
  spec: { taints: [{ key: 'k', value: 'v', effect: 'NoExecute' }] },
};
const tolerant = { tolerations: [{ key: 'k', value: 'v', effect: 'NoExecute' as const }] };

function reason(pod: Pod, more: Partial<AdmissionInput> = {}): string | undefined {
  const allocatable = { cpu: 2000, memory: 1000, pods: 3 };
  return admit({
    pod,
    others: [],
    node: undefined,
    allocatable,
    allowedUnsafeSysctls: ['net.core.*'],
    pressure: { memory: false, disk: false },
    ...more,
  })?.reason;
}

describe('admission on the node', () => {
  const affinity = (values: string[]): Partial<PodSpec> => ({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'disk', operator: 'In', values }] }],
        },
      },
    },
  });
  const sysctl = (name: string): Pod => podOf({ securityContext: { sysctls: [{ name, value: '1' }] } });
  const cases: [string, string | undefined, string | undefined][] = [
    ['fits', reason(asking({ cpu: '2' })), undefined],
    ['too much cpu beside others', reason(asking({ cpu: '1' }), { others: [asking({ cpu: '1500m' })] }), 'OutOfcpu'],
    ['too much memory', reason(asking({ memory: '1001' })), 'OutOfmemory'],
    ['too many pods', reason(podOf({}), { others: [podOf({}), podOf({}), podOf({})] }), 'OutOfpods'],
    ['device resources are not judged', reason(asking({ 'x.com/gpu': '1' })), undefined],
    ['same host port', reason(onPort(80), { others: [onPort(80)] }), 'NodePorts'],
    [
      'same host port on other addresses',
      reason(onPort(80, '10.0.0.1'), { others: [onPort(80, '10.0.0.2')] }),
      undefined,
    ],
    [
      'label that the node lacks',
      reason(podOf({ ...tolerant, nodeSelector: { disk: 'hdd' } }), { node }),
      'NodeAffinity',
    ],
    ['affinity that fits', reason(podOf({ ...tolerant, ...affinity(['ssd']) }), { node }), undefined],
    ['affinity that does not', reason(podOf({ ...tolerant, ...affinity(['hdd']) }), { node }), 'NodeAffinity'],
    ['taint not tolerated', reason(podOf({}), { node }), 'TaintToleration'],
    ['safe sysctl', reason(sysctl('net.ipv4.ip_unprivileged_port_start')), undefined],
    ['unsafe sysctl', reason(sysctl('kernel.msgmax')), 'SysctlForbidden'],
    ['unsafe sysctl that this node allows', reason(sysctl('net.core.somaxconn')), undefined],
    ['other operating system', reason(podOf({ os: { name: 'windows' } })), 'PodOSNotSupported'],
    ['BestEffort under memory pressure', reason(podOf({}), { pressure: { memory: true, disk: false } }), 'Evicted'],
    [
      'Burstable under memory pressure',
      reason(asking({ memory: '1' }), { pressure: { memory: true, disk: false } }),
      undefined,
    ],
  ];
  for (const [title, actual, expected] of cases)
    it(`${title}: ${expected ?? 'admitted'}`, () => expect(actual).to.equal(expected));
});

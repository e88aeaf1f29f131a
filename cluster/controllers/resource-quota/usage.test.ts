// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod, ResourceQuotaSpec } from '../../machinery/api-types.ts';
import { quotaUsage } from './usage.ts';

function pod(requests: Record<string, string>, extra: object = {}, phase: 'Running' | 'Succeeded' = 'Running'): Pod {
  return {
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c', resources: { requests } }], ...extra },
    status: { phase },
  };
}

const init = (cpu: string, restartPolicy?: string): object => ({
  initContainers: [{ name: 'i', resources: { requests: { cpu } }, ...(restartPolicy && { restartPolicy }) }],
});

function usage(spec: ResourceQuotaSpec, pods: Pod[]): Record<string, string> {
  return quotaUsage(spec, {
    pods,
    services: [
      { metadata: { name: 'a' }, spec: { type: 'NodePort', ports: [{ port: 1 }, { port: 2 }] } },
      { metadata: { name: 'b' }, spec: { type: 'LoadBalancer', ports: [{ port: 1 }] } },
    ],
    claims: [
      { metadata: { name: 'a' }, spec: { storageClassName: 'gold', resources: { requests: { storage: '1Gi' } } } },
      { metadata: { name: 'b' }, spec: { resources: { requests: { storage: '512Mi' } } } },
    ],
    countOf: (resource) => resource.length,
  });
}

describe('controllers/resource-quota usage', () => {
  const cases: [name: string, key: string, pods: Pod[], expected: string][] = [
    ['sums requests', 'cpu', [pod({ cpu: '100m' }), pod({ cpu: '1' })], '1100m'],
    [
      'leaves finished pods out',
      'requests.memory',
      [pod({ memory: '1Gi' }), pod({ memory: '1Gi' }, {}, 'Succeeded')],
      '1Gi',
    ],
    ['takes the larger of init and main containers', 'requests.cpu', [pod({ cpu: '1' }, init('3'))], '3'],
    ['adds sidecars', 'requests.cpu', [pod({ cpu: '1' }, init('3', 'Always'))], '4'],
    ['counts pods', 'pods', [pod({}), pod({}, {}, 'Succeeded')], '1'],
    ['counts objects', 'count/deployments.apps', [], '16'],
    ['counts node ports', 'services.nodeports', [], '3'],
    ['counts load balancers', 'services.loadbalancers', [], '1'],
    ['sums storage', 'requests.storage', [], '1536Mi'],
    ['sums storage of one class', 'gold.storageclass.storage.k8s.io/requests.storage', [], '1Gi'],
    ['counts claims of one class', 'gold.storageclass.storage.k8s.io/persistentvolumeclaims', [], '1'],
  ];
  for (const [name, key, pods, expected] of cases) {
    it(name, () => void expect(usage({ hard: { [key]: '1' } }, pods)[key]).to.equal(expected));
  }

  it('keeps to its scopes', () => {
    const list = [
      pod({}),
      pod({ cpu: '1' }, { activeDeadlineSeconds: 5 }),
      pod({ cpu: '1' }, { priorityClassName: 'high' }),
    ];
    const count = (spec: object): string | undefined => usage({ hard: { pods: '9' }, ...spec }, list)['pods'];
    expect(count({ scopes: ['BestEffort'] })).to.equal('1');
    expect(count({ scopes: ['NotTerminating'] })).to.equal('2');
    expect(
      count({
        scopeSelector: { matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }] },
      }),
    ).to.equal('1');
  });
});

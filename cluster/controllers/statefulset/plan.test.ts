// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../../machinery/api-types.ts';
import { planStatefulSet, statefulSetStatus } from './plan.ts';
import { claimOwners, podFor } from './pods.ts';

const now = Date.parse('2026-01-01T00:00:00Z');

function set(spec: object = {}): StatefulSet {
  return {
    metadata: { name: 's', namespace: 'x', uid: 'u' },
    spec: { replicas: 3, template: {}, serviceName: 's', ...spec },
  };
}

/** `2:old:ready` is pod s-2 of revision old; further states are pending, failed and going. */
function pods(text: string): Pod[] {
  return text
    .split(' ')
    .filter((one) => one !== '')
    .map((one) => {
      const [ordinal, revision = '', state] = one.split(':');
      return {
        metadata: {
          name: `s-${ordinal}`,
          uid: `p${ordinal}`,
          labels: { 'controller-revision-hash': revision },
          ...(state === 'going' && { deletionTimestamp: 'now' }),
        },
        status: {
          phase: state === 'failed' ? 'Failed' : state === 'pending' ? 'Pending' : 'Running',
          conditions: [
            {
              type: 'Ready',
              status: state === 'pending' || state === 'failed' ? 'False' : 'True',
              lastTransitionTime: new Date(now - 9000).toISOString(),
            },
          ],
        },
      };
    });
}

function plan(spec: object, text: string): string {
  const input = { set: set(spec), pods: pods(text), currentRevision: 'old', updateRevision: 'new', now };
  const { create, remove } = planStatefulSet(input);
  return [
    ...create.map(({ ordinal, revision }) => `+${ordinal}:${revision}`),
    ...remove.map(({ pod }) => `-${pod.metadata.name?.slice(2)}`),
  ].join(' ');
}

describe('controllers/statefulset plan', () => {
  const cases: [name: string, spec: object, pods: string, expected: string][] = [
    ['creates the first pod only', {}, '', '+0:new'],
    ['waits until the first pod is ready', {}, '0:new:pending', ''],
    ['goes on to the next pod', {}, '0:new:ready', '+1:new'],
    ['waits for minReadySeconds', { minReadySeconds: 10 }, '0:new:ready', ''],
    ['creates all pods of a parallel set', { podManagementPolicy: 'Parallel' }, '1:new:pending', '+0:new +2:new'],
    ['fills a gap before anything else', {}, '0:new:ready 2:old:ready', '+1:new'],
    ['replaces a failed pod', {}, '0:new:failed 1:new:ready', '-0'],
    ['waits for a pod that is going', {}, '0:new:going 1:new:ready', ''],
    ['shrinks from the end, one at a time', { replicas: 1 }, '0:new:ready 1:new:ready 2:new:ready', '-2'],
    [
      'shrinks a parallel set at once',
      { replicas: 1, podManagementPolicy: 'Parallel' },
      '0:new:ready 1:new:ready 2:new:ready',
      '-2 -1',
    ],
    ['does not shrink past an unhealthy pod', { replicas: 1 }, '0:new:ready 1:new:pending 2:new:ready', '-2'],
    ['updates from the end', {}, '0:old:ready 1:old:ready 2:old:ready', '-2'],
    ['waits for the updated pod', {}, '0:old:ready 1:old:ready 2:new:pending', ''],
    [
      'goes down to the partition',
      { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 2 } } },
      '0:old:ready 1:old:ready 2:new:ready',
      '',
    ],
    [
      'makes pods below the partition from the old revision',
      { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 2 } } },
      '1:old:ready 2:new:ready',
      '+0:old',
    ],
    ['leaves updates to the user', { updateStrategy: { type: 'OnDelete' } }, '0:old:ready 1:old:ready 2:old:ready', ''],
    ['begins at the start ordinal', { ordinals: { start: 5 } }, '', '+5:new'],
    ['moves a set to other ordinals', { replicas: 1, ordinals: { start: 5 } }, '0:new:ready 5:new:ready', '-0'],
    [
      'updates several at once when allowed',
      {
        podManagementPolicy: 'Parallel',
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 2 } },
      },
      '0:old:ready 1:old:ready 2:old:ready',
      '-2 -1',
    ],
  ];
  for (const [name, spec, text, expected] of cases) it(name, () => void expect(plan(spec, text)).to.equal(expected));

  it('makes the update revision current when every pod has it', () => {
    const status = (text: string) =>
      statefulSetStatus({ set: set(), pods: pods(text), currentRevision: 'old', updateRevision: 'new', now }, 0);
    expect(status('0:old:ready 1:new:ready 2:new:ready')).to.include({
      currentRevision: 'old',
      currentReplicas: 1,
      updatedReplicas: 2,
    });
    expect(status('0:new:ready 1:new:ready 2:new:ready')).to.include({ currentRevision: 'new', currentReplicas: 3 });
  });

  it('gives each pod its name, claims and labels', () => {
    const owner = set({ volumeClaimTemplates: [{ metadata: { name: 'data' } }] });
    const template = {
      spec: {
        containers: [],
        volumes: [
          { name: 'data', emptyDir: {} },
          { name: 'tmp', emptyDir: {} },
        ],
      },
    };
    const pod = podFor(owner, 1, { template, hash: 'h', name: 's-h' });
    expect(pod.metadata.labels).to.include({ 'apps.kubernetes.io/pod-index': '1', 'controller-revision-hash': 's-h' });
    expect(pod.spec).to.include({ hostname: 's-1', subdomain: 's' });
    expect(pod.spec?.volumes).to.deep.equal([
      { name: 'data', persistentVolumeClaim: { claimName: 'data-s-1' } },
      { name: 'tmp', emptyDir: {} },
    ]);
  });

  it('hands claims to the set or to the condemned pod, as the retention policy says', () => {
    const owners = (
      policy: object,
      condemned: boolean,
      before: PersistentVolumeClaim['metadata']['ownerReferences'] = [],
    ): string | undefined =>
      claimOwners(
        set({ persistentVolumeClaimRetentionPolicy: policy }),
        { metadata: { name: 'c', ownerReferences: before } },
        { object: pods('0:new:ready')[0] as Pod, condemned },
      )
        ?.map(({ kind }) => kind)
        .join();
    expect(owners({}, true)).to.equal(undefined);
    expect(owners({ whenDeleted: 'Delete' }, false)).to.equal('StatefulSet');
    expect(owners({ whenDeleted: 'Delete', whenScaled: 'Delete' }, true)).to.equal('Pod');
    expect(owners({}, false, [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 's', uid: 'u' }])).to.equal('');
  });
});

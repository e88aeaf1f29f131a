// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../machinery/api-types.ts';
import { bindCompleted, planClaim, planVolume, selectedNode } from './claims.ts';

function claim(spec: object = {}, annotations: Record<string, string> = {}): PersistentVolumeClaim {
  return {
    metadata: { name: 'c', namespace: 'x', uid: 'u', annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'fast',
      resources: { requests: { storage: '2Gi' } },
      ...spec,
    },
  };
}

function volume(name: string, storage: string, spec: object = {}): PersistentVolume {
  return {
    metadata: { name, labels: { tier: name } },
    spec: { capacity: { storage }, accessModes: ['ReadWriteOnce'], storageClassName: 'fast', ...spec },
    status: { phase: 'Available' },
  };
}

const classes: Record<string, StorageClass> = {
  fast: { metadata: { name: 'fast' }, provisioner: 'csi.example', volumeBindingMode: 'Immediate' },
  lazy: { metadata: { name: 'lazy' }, provisioner: 'csi.example', volumeBindingMode: 'WaitForFirstConsumer' },
  local: { metadata: { name: 'local' }, provisioner: 'kubernetes.io/no-provisioner', volumeBindingMode: 'Immediate' },
};

function outcome(one: PersistentVolumeClaim, volumes: PersistentVolume[] = []): string {
  const step = planClaim(one, { volumes, classOf: (name) => classes[name] });
  if (step.step === 'bind') return `bind ${step.volume.metadata.name}`;
  return step.step === 'wait' || step.step === 'lost' ? `${step.step} ${step.reason}` : step.step;
}

const reference = (uid?: string): object => ({ claimRef: { name: 'c', namespace: 'x', ...(uid && { uid }) } });

describe('controllers/persistent-volume plan', () => {
  const cases: [name: string, claim: PersistentVolumeClaim, volumes: PersistentVolume[], expected: string][] = [
    [
      'takes the smallest that is large enough',
      claim(),
      [volume('a', '9Gi'), volume('b', '3Gi'), volume('c', '1Gi')],
      'bind b',
    ],
    ['prefers the one that is reserved', claim(), [volume('a', '2Gi'), volume('b', '9Gi', reference())], 'bind b'],
    [
      'leaves alone what belongs to another',
      claim({ storageClassName: '' }),
      [volume('a', '2Gi', { storageClassName: '', claimRef: { name: 'd', namespace: 'x' } })],
      'wait FailedBinding',
    ],
    [
      'goes by class, mode, access and labels',
      claim({ accessModes: ['ReadWriteMany'] }),
      [volume('a', '2Gi')],
      'provision',
    ],
    [
      'goes by selector',
      claim({ selector: { matchLabels: { tier: 'b' } } }),
      [volume('a', '2Gi'), volume('b', '9Gi')],
      'bind b',
    ],
    [
      'does not mix block and file system',
      claim({ volumeMode: 'Block', storageClassName: 'local' }),
      [volume('a', '2Gi', { storageClassName: 'local' })],
      'wait ProvisioningFailed',
    ],
    ['hands over to the provisioner', claim(), [], 'provision'],
    [
      'waits for the first consumer',
      claim({ storageClassName: 'lazy' }),
      [volume('a', '2Gi', { storageClassName: 'lazy' })],
      'wait WaitForFirstConsumer',
    ],
    [
      'goes on when the scheduler has chosen a node',
      claim({ storageClassName: 'lazy' }, { [selectedNode]: 'n1' }),
      [],
      'provision',
    ],
    [
      'binds what the scheduler has reserved',
      claim({ storageClassName: 'lazy' }),
      [volume('a', '2Gi', { storageClassName: 'lazy', ...reference('u') })],
      'bind a',
    ],
    [
      'binds to the volume that it names',
      claim({ volumeName: 'a' }),
      [volume('a', '9Gi'), volume('b', '2Gi')],
      'bind a',
    ],
    [
      'refuses the volume that it names when that is too small',
      claim({ volumeName: 'a' }),
      [volume('a', '1Gi')],
      'wait VolumeMismatch',
    ],
    ['waits for a volume that is not there yet', claim({ volumeName: 'a' }), [], 'none'],
    ['is lost when its volume is', claim({ volumeName: 'a' }, { [bindCompleted]: 'yes' }), [], 'lost ClaimLost'],
    [
      'is lost when its volume went to another',
      claim({ volumeName: 'a' }, { [bindCompleted]: 'yes' }),
      [volume('a', '2Gi', reference('other'))],
      'lost ClaimMisbound',
    ],
    ['says that its class is unknown', claim({ storageClassName: 'none' }), [], 'wait ProvisioningFailed'],
  ];
  for (const [name, one, volumes, expected] of cases)
    it(`a claim ${name}`, () => void expect(outcome(one, volumes)).to.equal(expected));

  it('a volume follows its claim', () => {
    expect(planVolume(volume('a', '1Gi'), undefined)).to.equal('available');
    expect(planVolume(volume('a', '1Gi', reference()), undefined)).to.equal('available');
    expect(planVolume(volume('a', '1Gi', reference('u')), undefined)).to.equal('released');
    expect(planVolume(volume('a', '1Gi', reference('old')), claim())).to.equal('released');
    expect(planVolume(volume('a', '1Gi', reference('u')), claim({ volumeName: 'a' }))).to.equal('bound');
    expect(planVolume(volume('a', '1Gi', reference('u')), claim())).to.equal('recheck-claim');
    expect(planVolume(volume('a', '1Gi', reference('u')), claim({ volumeName: 'b' }))).to.equal('unbind');
  });
});

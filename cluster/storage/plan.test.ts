// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { CSINode, PersistentVolumeClaim, StorageClass } from '../machinery/api-types.ts';
import { driverName } from './driver.ts';
import {
  binaryQuantity,
  classToProvision,
  growthBytes,
  nodesWithDriver,
  shouldDelete,
  volumeObject,
  type StorageView,
} from './plan.ts';

const storageClass: StorageClass = {
  metadata: { name: 'standard' },
  provisioner: driverName,
  volumeBindingMode: 'WaitForFirstConsumer',
};

function view(
  nodeName: string,
  mode: StorageClass['volumeBindingMode'] & string = 'WaitForFirstConsumer',
): StorageView {
  return {
    nodeName,
    driverNodes: ['n2', 'n1', 'n3'],
    storageClass: () => ({ ...storageClass, volumeBindingMode: mode }),
    volume: () => volume,
  };
}

function claim(annotations: Record<string, string> = {}): PersistentVolumeClaim {
  return {
    metadata: {
      name: 'data',
      namespace: 'x',
      uid: 'u-1',
      annotations: { 'volume.kubernetes.io/storage-provisioner': driverName, ...annotations },
    },
    spec: { storageClassName: 'standard', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } } },
  };
}

const volume = volumeObject(claim(), storageClass, { volumeId: 'v', capacityBytes: 2 ** 30, nodeName: 'n1' });

describe('storage: what a provisioner takes on', () => {
  it('finds the nodes that have the driver among nodes with other drivers, and with none', () => {
    const node = (name: string, drivers: readonly string[] | null): CSINode => {
      const spec = { drivers: drivers?.map((driver) => ({ name: driver, nodeID: name })) ?? null };
      return { metadata: { name }, spec } as CSINode;
    };
    expect(nodesWithDriver([node('n1', null), node('n2', ['other']), node('n3', ['other', driverName])])).to.deep.equal(
      ['n3'],
    );
  });

  it('waits for the scheduler’s node, and takes only its own', () => {
    const chosen = claim({ 'volume.kubernetes.io/selected-node': 'n1' });
    expect(classToProvision(claim(), view('n1'))).to.equal(undefined);
    expect(classToProvision(chosen, view('n1'))?.metadata.name).to.equal('standard');
    expect(classToProvision(chosen, view('n2'))).to.equal(undefined);
  });

  it('shares immediate claims out so that exactly one node takes each', () => {
    const takers = ['n1', 'n2', 'n3'].filter(
      (node) => classToProvision(claim(), view(node, 'Immediate')) !== undefined,
    );
    expect(takers).to.have.length(1);
  });

  it('leaves alone what was not handed over, is bound, or goes', () => {
    const chosen = { 'volume.kubernetes.io/selected-node': 'n1' };
    const base = claim(chosen);
    expect(classToProvision({ ...base, metadata: { name: 'data', annotations: chosen } }, view('n1'))).to.equal(
      undefined,
    );
    expect(classToProvision({ ...base, spec: { ...base.spec, volumeName: 'pv' } }, view('n1'))).to.equal(undefined);
    const leaving = { ...base, metadata: { ...base.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    expect(classToProvision(leaving, view('n1'))).to.equal(undefined);
  });

  it('deletes only released volumes of its own node, and grows only claims bound to them', () => {
    const released = { ...volume, status: { phase: 'Released' as const } };
    expect(shouldDelete(released, view('n1'))).to.equal(true);
    expect(shouldDelete(released, view('n2'))).to.equal(false);
    expect(
      shouldDelete({ ...released, spec: { ...released.spec, persistentVolumeReclaimPolicy: 'Retain' } }, view('n1')),
    ).to.equal(false);
    const bound = { ...claim(), status: { phase: 'Bound' as const, capacity: { storage: '1Gi' } } };
    expect(growthBytes(bound, view('n1'))).to.equal(2 * 2 ** 30);
    expect(growthBytes(bound, view('n2'))).to.equal(undefined);
  });

  it('writes sizes in the largest unit that divides them', () => {
    expect([2 ** 30, 3 * 2 ** 20, 1000, 1536].map(binaryQuantity)).to.deep.equal(['1Gi', '3Mi', '1000', '1536']);
  });
});

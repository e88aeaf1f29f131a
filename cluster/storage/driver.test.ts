// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import csiDescriptor from '../kubelet/grpc/csi.descriptor.json' with { type: 'json' };
import type { ControllerExpandVolumeResponse, CreateVolumeResponse } from '../kubelet/grpc/csi.types.ts';
import { connectService, grpcCode, grpcStatus, type ServiceClient } from '../kubelet/grpc/service-client.ts';
import { driverServices, topologyKey } from './driver.ts';
import { serveOnSocket } from './grpc-server.ts';

describe('storage: the host-path driver over its socket', () => {
  const home = mkdtempSync(join(tmpdir(), 'plumb-csi-'));
  const socket = join(home, 'csi.sock');
  let stop = (): void => undefined;
  let controller: ServiceClient;

  before(async () => {
    stop = await serveOnSocket(
      csiDescriptor,
      socket,
      driverServices({ nodeName: 'n1', version: '1', root: join(home, 'volumes') }),
    );
    controller = connectService(csiDescriptor, 'csi.v1.Controller', `unix://${socket}`);
  });
  after(() => {
    controller.close();
    stop();
    rmSync(home, { recursive: true });
  });

  const capability = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } };
  const create = (more: object = {}) =>
    controller.call<CreateVolumeResponse>('CreateVolume', {
      name: 'pvc-1',
      volumeCapabilities: [capability],
      capacityRange: { requiredBytes: 4096 },
      ...more,
    });
  const codeOf = (call: Promise<unknown>) => call.then(() => grpcStatus.OK, grpcCode);

  it('makes a volume once, however often it is asked, and tells where it can be used', async () => {
    const first = await create();
    expect(first.volume).to.include({ capacityBytes: 4096, volumeId: 'pvc-1' });
    expect(first.volume?.accessibleTopology[0]?.segments).to.deep.equal({ [topologyKey]: 'n1' });
    expect(await create()).to.deep.equal(first);
    expect(await codeOf(create({ capacityRange: { requiredBytes: 8192 } }))).to.equal(grpcStatus.ALREADY_EXISTS);
  });

  it('refuses what it cannot serve, by the right code', async () => {
    expect(await codeOf(create({ name: '' }))).to.equal(grpcStatus.INVALID_ARGUMENT);
    expect(
      await codeOf(create({ name: 'b', volumeCapabilities: [{ ...capability, mount: undefined, block: {} }] })),
    ).to.equal(grpcStatus.INVALID_ARGUMENT);
    expect(
      await codeOf(
        create({ name: 'b', volumeCapabilities: [{ mount: {}, accessMode: { mode: 'MULTI_NODE_MULTI_WRITER' } }] }),
      ),
    ).to.equal(grpcStatus.INVALID_ARGUMENT);
    expect(await codeOf(create({ name: 'b', capacityRange: { requiredBytes: 2 ** 60 } }))).to.equal(
      grpcStatus.OUT_OF_RANGE,
    );
    const elsewhere = { requisite: [{ segments: { [topologyKey]: 'n2' } }] };
    expect(await codeOf(create({ name: 'b', accessibilityRequirements: elsewhere }))).to.equal(
      grpcStatus.RESOURCE_EXHAUSTED,
    );
  });

  it('grows and deletes; a deleted volume is not found, deleting it again is no error', async () => {
    const grown = await controller.call<ControllerExpandVolumeResponse>('ControllerExpandVolume', {
      volumeId: 'pvc-1',
      capacityRange: { requiredBytes: 8192 },
    });
    expect(grown).to.deep.equal({ capacityBytes: 8192, nodeExpansionRequired: false });
    for (let turn = 0; turn < 2; turn++) await controller.call('DeleteVolume', { volumeId: 'pvc-1' });
    expect(await codeOf(controller.call('ControllerExpandVolume', { volumeId: 'pvc-1' }))).to.equal(
      grpcStatus.NOT_FOUND,
    );
  });

  it('does not let an id lead out of its folder', async () => {
    await controller.call('DeleteVolume', { volumeId: '../volumes' });
    await create({ name: '../../etc' });
    expect((await create({ name: '../../etc' })).volume?.volumeId).to.equal('__.._etc');
  });
});

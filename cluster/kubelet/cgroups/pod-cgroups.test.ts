// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod, ResourceRequirements } from '../../machinery/api-types.ts';
import { oomScoreAdj, podCgroup, podResources, quotaOf, sharesOf, weightOf } from './pod-cgroups.ts';

const podOf = (...resources: ResourceRequirements[]): Pod => ({
  metadata: { uid: 'a-b' },
  spec: { containers: resources.map((one, index) => ({ name: `c${index}`, resources: one })) },
});
const both = { cpu: '500m', memory: '64Mi' };

describe('cgroups of pods', () => {
  it('are named by class and driver', () => {
    const path = (pod: Pod, driver: 'cgroupfs' | 'systemd' = 'cgroupfs', root = '/'): string =>
      podCgroup(pod, { root, perQos: true, driver });
    expect(path(podOf({}))).to.equal('/kubepods/besteffort/poda-b');
    expect(path(podOf({ requests: both }), 'cgroupfs', '/plumb/n1')).to.equal('/plumb/n1/kubepods/burstable/poda-b');
    expect(path(podOf({ requests: both, limits: both }))).to.equal('/kubepods/poda-b');
    expect(path(podOf({}), 'systemd')).to.equal('kubepods-besteffort-poda_b.slice');
  });

  it('limit only what every container limits', () => {
    expect(podResources(podOf({ limits: both, requests: both }))).to.include({
      cpuShares: 512,
      cpuQuota: 50_000,
      memoryLimitInBytes: 67_108_864,
    });
    expect(podResources(podOf({ limits: both, requests: both }, {}))).to.include({
      cpuShares: 512,
      cpuQuota: 0,
      memoryLimitInBytes: 0,
    });
    expect(podResources(podOf({}))).to.include({ cpuShares: 2, cpuQuota: 0 });
  });

  it('turn cpu into shares, quota and weight within the bounds of the kernel', () => {
    expect([0, 1, 100, 1000, 1e9].map(sharesOf)).to.deep.equal([2, 2, 102, 1024, 262_144]);
    expect([0, 1, 500].map(quotaOf)).to.deep.equal([0, 1000, 50_000]);
    expect([2, 1024, 262_144].map(weightOf)).to.deep.equal([1, 40, 10_000]);
  });

  it('say whom the kernel kills first', () => {
    const gigabyte = 2 ** 30;
    expect(oomScoreAdj(podOf({ limits: both, requests: both }), 1, gigabyte)).to.equal(-997);
    expect(oomScoreAdj(podOf({}), 0, gigabyte)).to.equal(1000);
    expect(oomScoreAdj(podOf({ requests: { memory: '512Mi' } }), gigabyte / 2, gigabyte)).to.equal(500);
    expect(oomScoreAdj(podOf({ requests: { memory: '1Gi' } }), gigabyte, gigabyte)).to.equal(3);
    expect(oomScoreAdj({ ...podOf({}), spec: { containers: [], priority: 2_000_001_000 } }, 0, gigabyte)).to.equal(
      -997,
    );
  });
});

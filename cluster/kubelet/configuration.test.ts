// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { configurationFrom, readConfiguration } from './configuration.ts';
import { crossed, rankForMemory } from './node/eviction.ts';
import { allocatableOf, computeNodeStatus, statusDiffers } from './node/node-status.ts';
import type { NodeFactsInput } from './node/node-status.ts';
import { subresourcesOf } from './server/authentication.ts';

describe('KubeletConfiguration', () => {
  it('has defaults, takes durations, and passes over what it does not use', () => {
    const config = configurationFrom(
      { nodeStatusUpdateFrequency: '4s', syncFrequency: '0s', cpuManagerPolicy: 'none', clusterDomain: 'x.y.' },
      'f',
    );
    expect(config).to.include({
      nodeStatusUpdateMs: 4000,
      port: 10_250,
      maxPods: 110,
      clusterDomain: 'x.y',
      authorizationMode: 'Webhook',
      anonymousAuth: false,
    });
    expect(config.evictionHard['memory.available']).to.equal('100Mi');
  });

  it('names file and field of a wrong type, and a file that is not there', () => {
    expect(() => configurationFrom({ maxPods: 'many' }, 'k.yaml')).to.throw(
      'k.yaml: maxPods has the wrong type: "many"',
    );
    expect(() => readConfiguration('/nonexistent.yaml')).to.throw('cannot read /nonexistent.yaml');
  });
});

describe('eviction', () => {
  it('knows crossed thresholds by amount and percentage, and 0% as off', () => {
    const signals = {
      'memory.available': { available: 50, total: 1000 },
      'nodefs.available': { available: 90, total: 1000 },
      'imagefs.available': { available: 0, total: 1000 },
    };
    const thresholds = {
      'memory.available': '100',
      'nodefs.available': '10%',
      'imagefs.available': '0%',
      'unknown.signal': '1',
    };
    expect(crossed(thresholds, signals).map((one) => one.signal)).to.deep.equal([
      'memory.available',
      'nodefs.available',
    ]);
  });

  it('takes those above their request first, then the less important, then the greediest', () => {
    const pod = (uid: string, priority: number, requestBytes: number, usageBytes: number) => ({
      uid,
      priority,
      requestBytes,
      usageBytes,
    });
    const order = rankForMemory([
      pod('modest', 0, 10, 5),
      pod('important', 9, 0, 50),
      pod('greedy', 0, 0, 30),
      pod('less', 0, 0, 20),
    ]);
    expect(order.map((one) => one.uid)).to.deep.equal(['greedy', 'less', 'important', 'modest']);
  });
});

describe('the Node', () => {
  const facts: NodeFactsInput = {
    name: 'n',
    ips: ['192.0.2.1'],
    capacity: { milliCpu: 2000, memoryBytes: 4 * 2 ** 30, ephemeralBytes: 2 ** 40, hugePages: { 'hugepages-2Mi': 0 } },
    reserved: { cpu: 500, memory: 2 ** 30 },
    maxPods: 110,
    port: 10_250,
    info: {
      machineID: '',
      systemUUID: '',
      bootID: '',
      kernelVersion: '',
      osImage: '',
      containerRuntimeVersion: '',
      kubeletVersion: 'v1.36.0',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: 'amd64',
    },
    images: [],
    runtimeHandlers: [],
    volumesInUse: [],
    problems: [],
    pressure: { memory: false, disk: false, pid: false },
    extendedResources: {},
  };

  it('offers what is left after reservations', () => {
    expect(allocatableOf(facts.capacity, 110, facts.reserved)).to.include({
      cpu: 1500,
      memory: 3 * 2 ** 30,
      pods: 110,
    });
    const status = computeNodeStatus(facts, {}, 0);
    expect(status.allocatable).to.include({ cpu: '1500m', memory: '3145728Ki', pods: '110' });
    expect(status.capacity).to.include({ cpu: '2', memory: '4194304Ki' });
  });

  it('is written again for a change, not for a heartbeat', () => {
    const before = computeNodeStatus(facts, {}, 0);
    expect(statusDiffers(computeNodeStatus(facts, before, 60_000), before)).to.equal(false);
    const broken = computeNodeStatus({ ...facts, problems: ['no network'] }, before, 60_000);
    expect(statusDiffers(broken, before)).to.equal(true);
    expect(broken.conditions?.at(-1)).to.deep.equal({
      type: 'Ready',
      status: 'False',
      reason: 'KubeletNotReady',
      message: 'no network',
      lastHeartbeatTime: '1970-01-01T00:01:00Z',
      lastTransitionTime: '1970-01-01T00:01:00Z',
    });
  });

  it('guards its API by subresource', () => {
    expect(subresourcesOf('/metrics/cadvisor')).to.deep.equal(['metrics']);
    expect(subresourcesOf('/pods')).to.deep.equal(['pods', 'proxy']);
    expect(subresourcesOf('/exec/a/b/c')).to.deep.equal(['proxy']);
  });
});

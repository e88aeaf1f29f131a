// SPDX-License-Identifier: Apache-2.0
// Virtual packets through kube-proxy's rules.
import { expect } from 'chai';

import { tracePacket } from '../../network/nft/trace-packet.ts';
import { planServicePort } from './plan.ts';
import { assembleTable } from './rule-store.ts';
import { backendsByPort, servicePorts } from '../service-model.ts';
import type { EndpointSlice, Service, ServiceSpec } from '../../machinery/api-types.ts';
import type { Trace, TraceOptions, VirtualPacket } from '../../network/nft/trace-packet.ts';

const node = { name: 'worker', zone: 'z1' };
const nodeAddress = '172.18.0.2';
const outside = '192.0.2.9';
const pod = '10.244.1.9';

describe('kube-proxy rules', () => {
  it('send a pod to each endpoint of a ClusterIP, keeping its address', () => {
    const world = cluster({}, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
    const first = world.send({ from: pod, to: '10.96.0.5', port: 80 });
    expect(first).to.include({ end: 'forwarded', destination: '10.244.1.2', port: 8080, masqueraded: false });
    const second = world.send({ from: pod, to: '10.96.0.5', port: 80 }, { choose: () => 1 });
    expect(second).to.include({ destination: '10.244.2.2', port: 8080, masqueraded: false });
  });

  it('masquerade a pod that reaches itself, and sources outside the cluster', () => {
    const world = cluster({}, [endpoint(pod, true)]);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 })).to.include({ destination: pod, masqueraded: true });
    expect(world.send({ from: outside, to: '10.96.0.5', port: 80 }).masqueraded).to.equal(true);
    expect(world.send({ from: nodeAddress, to: '10.96.0.5', port: 80 }, { fromNode: true }).destination).to.equal(pod);
  });

  it('reject at once without endpoints, from pods, from the node and on the node port', () => {
    const world = cluster({ type: 'NodePort' }, []);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 }).end).to.equal('reset');
    expect(world.send({ from: nodeAddress, to: '10.96.0.5', port: 80 }, { fromNode: true }).end).to.equal('reset');
    expect(world.send({ from: outside, to: nodeAddress, port: 30080 }).end).to.equal('reset');
    const udp = cluster({ ports: [{ port: 80, protocol: 'UDP' }] }, []);
    expect(udp.send({ from: pod, to: '10.96.0.5', port: 80, protocol: 'udp' }).end).to.equal('rejected');
  });

  it('reject ports of a ClusterIP that no Service has', () => {
    const world = cluster({}, [endpoint('10.244.1.2')]);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 81 }).end).to.equal('reset');
  });

  it('serve a node port on every address of the node but not on loopback', () => {
    const world = cluster({ type: 'NodePort' }, [endpoint('10.244.2.2')]);
    const trace = world.send({ from: outside, to: nodeAddress, port: 30080 });
    expect(trace).to.include({ end: 'forwarded', destination: '10.244.2.2', masqueraded: true });
    expect(world.send({ from: nodeAddress, to: '127.0.0.1', port: 30080 }, { fromNode: true }).end).to.equal(
      'delivered',
    );
  });

  it('keep clients with their endpoint under ClientIP affinity', () => {
    const spec: Partial<ServiceSpec> = {
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    };
    const world = cluster(spec, [endpoint('10.244.1.2'), endpoint('10.244.2.2')]);
    const remembered = new Map<string, Set<string>>();
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 }, { remembered, choose: () => 1 }).destination).to.equal(
      '10.244.2.2',
    );
    for (let attempt = 0; attempt < 3; attempt++) {
      const again = world.send({ from: pod, to: '10.96.0.5', port: 80 }, { remembered, choose: () => 0 });
      expect(again.destination).to.equal('10.244.2.2');
    }
    expect([...world.table.sets.values()].some((set) => set.rememberSeconds === 60)).to.equal(true);
  });

  describe('externalTrafficPolicy Local', () => {
    const local: Partial<ServiceSpec> = { type: 'NodePort', externalTrafficPolicy: 'Local' };

    it('keeps the source and uses local endpoints only', () => {
      const world = cluster(local, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
      for (const choice of [0, 1]) {
        const trace = world.send(
          { from: outside, to: nodeAddress, port: 30080 },
          { choose: (n) => Math.min(choice, n - 1) },
        );
        expect(trace).to.include({ destination: '10.244.1.2', masqueraded: false });
      }
    });

    it('is silent to the outside without local endpoints, while pods and the node are served', () => {
      const world = cluster(local, [endpoint('10.244.2.2')]);
      expect(world.send({ from: outside, to: nodeAddress, port: 30080 }).end).to.equal('dropped');
      expect(world.send({ from: pod, to: nodeAddress, port: 30080 }).destination).to.equal('10.244.2.2');
      const own = world.send({ from: nodeAddress, to: nodeAddress, port: 30080 }, { fromNode: true });
      expect(own).to.include({ destination: '10.244.2.2', masqueraded: true });
    });
  });

  it('drop on internalTrafficPolicy Local without local endpoints, and use the local one where there is one', () => {
    const spec: Partial<ServiceSpec> = { internalTrafficPolicy: 'Local' };
    const remote = cluster(spec, [endpoint('10.244.2.2')]);
    expect(remote.send({ from: pod, to: '10.96.0.5', port: 80 }).end).to.equal('dropped');
    const both = cluster(spec, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
    expect(both.send({ from: pod, to: '10.96.0.5', port: 80 }, { choose: (n) => n - 1 }).destination).to.equal(
      '10.244.1.2',
    );
  });

  it('admit load balancer clients by source range, before translation', () => {
    const spec: Partial<ServiceSpec> = { type: 'LoadBalancer', loadBalancerSourceRanges: ['198.51.100.0/24'] };
    const world = cluster(spec, [endpoint('10.244.2.2')], { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } });
    expect(world.send({ from: '198.51.100.1', to: '203.0.113.7', port: 80 }).destination).to.equal('10.244.2.2');
    const refused = world.send({ from: outside, to: '203.0.113.7', port: 80 });
    expect(refused.end).to.equal('dropped');
    expect(refused.by?.rule.comment).to.contain('loadBalancerSourceRanges');
  });

  it('prefer ready endpoints, then those that terminate but serve', () => {
    const draining = { ready: false, serving: true, terminating: true };
    const world = cluster({}, [
      endpoint('10.244.1.2', false, draining),
      endpoint('10.244.2.2', false, { ready: true }),
    ]);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 }).destination).to.equal('10.244.2.2');
    const last = cluster({}, [
      endpoint('10.244.1.2', false, draining),
      endpoint('10.244.2.2', false, { ready: false }),
    ]);
    expect(last.send({ from: pod, to: '10.96.0.5', port: 80 }).destination).to.equal('10.244.1.2');
  });

  it('follow topology hints only when every endpoint has them and one fits', () => {
    const hinted = (address: string, zone: string) => ({ ...endpoint(address), hints: { forZones: [{ name: zone }] } });
    const world = cluster({}, [hinted('10.244.2.2', 'z2'), hinted('10.244.3.3', 'z1')]);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 }).destination).to.equal('10.244.3.3');
    const partly = cluster({}, [endpoint('10.244.2.2'), hinted('10.244.3.3', 'z1')]);
    expect(partly.send({ from: pod, to: '10.96.0.5', port: 80 }).destination).to.equal('10.244.2.2');
  });

  it('lead a packet to an endpoint that meets one map before a change and the next one after it', () => {
    const all = ['10.244.2.2', '10.244.2.3', '10.244.2.4'].map((address) => endpoint(address));
    const [before, after] = [all, all.slice(2)].map((endpoints) => cluster({ type: 'NodePort' }, endpoints));
    const old = ['service-ips', 'service-nodeports'].flatMap((name) => {
      const set = before?.table.sets.get(name);
      return set === undefined ? [] : [[name, set] as const];
    });
    expect(old).to.have.length(2);
    for (const choice of [0, 1, 2]) {
      for (const to of [
        { from: pod, to: '10.96.0.5', port: 80 },
        { from: outside, to: nodeAddress, port: 30080 },
      ]) {
        const chains = before?.table.chains ?? new Map();
        const table = {
          family: 'ip',
          name: 'kube-proxy',
          chains,
          sets: new Map([...(after?.table.sets ?? []), ...old]),
        } as const;
        const trace = before?.send(to, { tables: [table], choose: () => choice });
        expect(trace, `choice ${choice} of ${to.to}`).to.include({ end: 'forwarded', destination: '10.244.2.4' });
      }
    }
  });

  it('leave headless and ExternalName Services alone', () => {
    expect(servicePorts(service({ clusterIP: 'None' }), 4)).to.deep.equal([]);
    expect(servicePorts(service({ type: 'ExternalName' }), 4)).to.deep.equal([]);
  });
});

interface Sent {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly protocol?: string;
}

function cluster(
  spec: Partial<ServiceSpec>,
  endpoints: NonNullable<EndpointSlice['endpoints']>,
  status: NonNullable<Service['status']> = {},
) {
  const options = {
    node,
    family: 'ip',
    clusterCIDRs: ['10.244.0.0/16'],
    nodeAddresses: [],
    nodePortAddresses: undefined,
  } as const;
  const object = { ...service(spec), status };
  const slice: EndpointSlice = {
    metadata: { name: 'web-1', namespace: 'default' },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: '', port: 8080, protocol: object.spec?.ports?.[0]?.protocol ?? 'TCP' }],
  };
  const backends = backendsByPort([slice], node, 4);
  const rules = servicePorts(object, 4).map((port) =>
    planServicePort(port, backends.get(`${port.portName}/${port.protocol}`) ?? [], options),
  );
  const table = assembleTable(rules, options);
  const send = ({ from, to, port, protocol = 'tcp' }: Sent, more: Partial<TraceOptions> = {}): Trace => {
    const packet: VirtualPacket = { source: from, destination: to, port, protocol };
    return tracePacket(packet, { tables: [table], localAddresses: [nodeAddress, '127.0.0.1'], ...more });
  };
  return { table, send };
}

function service(spec: Partial<ServiceSpec>): Service {
  return {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      clusterIP: '10.96.0.5',
      ports: [{ port: 80, ...(spec.type === 'NodePort' && { nodePort: 30080 }) }],
      ...spec,
    },
  };
}

function endpoint(address: string, local = false, conditions = {}): NonNullable<EndpointSlice['endpoints']>[number] {
  return { addresses: [address], nodeName: local ? node.name : 'other', conditions };
}

// SPDX-License-Identifier: Apache-2.0
// Names as upstream makes them, and virtual packets through the text that goes to the kernel.
import { expect } from 'chai';

import { backendsByPort, servicePorts } from '../service-model.ts';
import { ChainStore } from './chain-store.ts';
import { baseChains, chainName, planServiceChains } from './plan.ts';
import { parseChains, traceChains } from './trace-chains.ts';
import type { EndpointSlice, Service, ServiceSpec } from '../../machinery/api-types.ts';
import type { IptablesOptions } from './plan.ts';
import type { ChainTrace, ChainTraceOptions } from './trace-chains.ts';
import type { ServicePort } from '../service-model.ts';

const node = { name: 'worker', zone: 'z1' };
const nodeAddress = '172.18.0.2';
const outside = '192.0.2.9';
const pod = '10.244.1.9';

describe('kube-proxy rules in iptables mode', () => {
  it('have the chain names that upstream has', () => {
    const port = (namespace: string, name: string, portName: string, protocol: string) =>
      ({ namespace, name, portName, protocol }) as ServicePort;
    expect(chainName('KUBE-SVC-', port('default', 'test-svc', '', 'tcp'))).to.equal('KUBE-SVC-QKNQQNIN727HO3XU');
    expect(chainName('KUBE-SVC-', port('default', 'kubernetes', 'https', 'tcp'))).to.equal('KUBE-SVC-NPX46M4PTMTKRN6Y');
    expect(chainName('KUBE-SVC-', port('kube-system', 'kube-dns', 'dns', 'udp'))).to.equal('KUBE-SVC-TCOU7JCQXEZGVUNU');
    expect(chainName('KUBE-SVC-', port('kube-system', 'kube-dns', 'dns-tcp', 'tcp'))).to.equal(
      'KUBE-SVC-ERIFXISQEP7F7OF4',
    );
    // Of the time when an unnamed port kept its colon; the hash is the same one.
    const old = port('default', 'my-nginx:', '', 'tcp');
    expect(chainName('KUBE-SVC-', old)).to.equal('KUBE-SVC-BEPXDJBUHFCSYIC3');
    expect(chainName('KUBE-SEP-', old, '172.17.0.2:80')).to.equal('KUBE-SEP-SZOOSRNNPSO4SQN6');
  });

  it('print chances and comments as upstream does, and no comments of endpoints in large clusters', () => {
    const ends = ['10.244.1.2', '10.244.2.2', '10.244.3.2'].map((address) => endpoint(address));
    const rules = (brief: boolean) => [...cluster({}, ends, { brief }).chains.values()].flat();
    const svc = rules(false).filter((rule) => rule.includes(' -> '));
    expect(svc.map((rule) => rule.replace(/KUBE-SEP-\w+/, 'X'))).to.deep.equal([
      '-m comment --comment "default/web -> 10.244.1.2:8080" -m statistic --mode random --probability 0.3333333333 -j X',
      '-m comment --comment "default/web -> 10.244.2.2:8080" -m statistic --mode random --probability 0.5000000000 -j X',
      '-m comment --comment "default/web -> 10.244.3.2:8080" -j X',
    ]);
    expect(rules(true).some((rule) => rule.includes(' -> '))).to.equal(false);
  });

  it('send a pod to each endpoint of a ClusterIP, keeping its address', () => {
    const world = cluster({}, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
    const first = world.send({ from: pod, to: '10.96.0.5', port: 80 });
    expect(first).to.include({ end: 'forwarded', destination: '10.244.1.2', port: 8080, masqueraded: false });
    const second = world.send({ from: pod, to: '10.96.0.5', port: 80 }, { draw: () => 0.7 });
    expect(second).to.include({ destination: '10.244.2.2', port: 8080, masqueraded: false });
  });

  it('masquerade a pod that reaches itself, and sources outside the cluster', () => {
    const world = cluster({}, [endpoint(pod, true)]);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 })).to.include({ destination: pod, masqueraded: true });
    expect(world.send({ from: outside, to: '10.96.0.5', port: 80 }).masqueraded).to.equal(true);
    expect(world.send({ from: nodeAddress, to: '10.96.0.5', port: 80 }, { fromNode: true }).destination).to.equal(pod);
  });

  it('reject without endpoints, from pods, from the node and on the node port', () => {
    const world = cluster({ type: 'NodePort' }, []);
    expect(world.send({ from: pod, to: '10.96.0.5', port: 80 }).end).to.equal('rejected');
    expect(world.send({ from: nodeAddress, to: '10.96.0.5', port: 80 }, { fromNode: true }).end).to.equal('rejected');
    const refused = world.send({ from: outside, to: nodeAddress, port: 30080 });
    expect(refused.end).to.equal('rejected');
    expect(refused.by).to.contain('default/web has no endpoints');
  });

  it('keep clients with their endpoint under ClientIP affinity', () => {
    const spec: Partial<ServiceSpec> = {
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    };
    const world = cluster(spec, [endpoint('10.244.1.2'), endpoint('10.244.2.2')]);
    const remembered = new Map<string, Set<string>>();
    const send = (draw: number) =>
      world.send({ from: pod, to: '10.96.0.5', port: 80 }, { remembered, draw: () => draw }).destination;
    expect([send(0.7), send(0), send(0)]).to.deep.equal(['10.244.2.2', '10.244.2.2', '10.244.2.2']);
    expect(world.text).to.contain('--rcheck --seconds 60 --reap');
  });

  it('serve node ports on every address, and on loopback only where asked', () => {
    const world = cluster({ type: 'NodePort' }, [endpoint('10.244.2.2')]);
    expect(world.send({ from: outside, to: nodeAddress, port: 30080 })).to.include({
      destination: '10.244.2.2',
      masqueraded: true,
    });
    const own = { from: '127.0.0.1', to: '127.0.0.1', port: 30080 };
    expect(world.send(own, { fromNode: true })).to.include({ destination: '10.244.2.2', masqueraded: true });
    const closed = cluster({ type: 'NodePort' }, [endpoint('10.244.2.2')], { localhostNodePorts: false });
    expect(closed.send(own, { fromNode: true }).end).to.equal('delivered');
  });

  it('under externalTrafficPolicy Local keep the source, use local endpoints only, and are silent without one', () => {
    const local: Partial<ServiceSpec> = { type: 'NodePort', externalTrafficPolicy: 'Local' };
    const world = cluster(local, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
    for (const draw of [0, 0.7]) {
      const trace = world.send({ from: outside, to: nodeAddress, port: 30080 }, { draw: () => draw });
      expect(trace).to.include({ destination: '10.244.1.2', masqueraded: false });
    }
    const away = cluster(local, [endpoint('10.244.2.2')]);
    expect(away.send({ from: outside, to: nodeAddress, port: 30080 }).end).to.equal('dropped');
    expect(away.send({ from: pod, to: nodeAddress, port: 30080 }).destination).to.equal('10.244.2.2');
    expect(away.send({ from: nodeAddress, to: nodeAddress, port: 30080 }, { fromNode: true })).to.include({
      destination: '10.244.2.2',
      masqueraded: true,
    });
  });

  it('drop on internalTrafficPolicy Local without local endpoints', () => {
    const spec: Partial<ServiceSpec> = { internalTrafficPolicy: 'Local' };
    const remote = cluster(spec, [endpoint('10.244.2.2')]);
    expect(remote.send({ from: pod, to: '10.96.0.5', port: 80 }).end).to.equal('dropped');
    const both = cluster(spec, [endpoint('10.244.1.2', true), endpoint('10.244.2.2')]);
    expect(both.send({ from: pod, to: '10.96.0.5', port: 80 }, { draw: () => 0.9 }).destination).to.equal('10.244.1.2');
  });

  it('admit load balancer clients by source range', () => {
    const spec: Partial<ServiceSpec> = { type: 'LoadBalancer', loadBalancerSourceRanges: ['198.51.100.0/24'] };
    const status = { loadBalancer: { ingress: [{ ip: '203.0.113.7' }, { ip: '203.0.113.8', ipMode: 'Proxy' }] } };
    const world = cluster(spec, [endpoint('10.244.2.2')], { status });
    expect(world.send({ from: '198.51.100.1', to: '203.0.113.7', port: 80 }).destination).to.equal('10.244.2.2');
    const refused = world.send({ from: outside, to: '203.0.113.7', port: 80 });
    expect(refused.end).to.equal('dropped');
    expect(refused.by).to.contain('traffic not accepted by KUBE-FW-');
    // An address of mode Proxy is the load balancer's own: its packets must leave the node.
    expect(world.send({ from: pod, to: '203.0.113.8', port: 80 }).destination).to.equal('203.0.113.8');
  });

  it('serve IPv6', () => {
    const options: Partial<IptablesOptions> = { family: 'ip6', clusterCIDRs: ['fd00:10:244::/56'] };
    const world = cluster({ clusterIP: 'fd00:10:96::5', type: 'NodePort' }, [endpoint('fd00:10:244:1::2')], options);
    expect(world.send({ from: 'fd00:10:244::9', to: 'fd00:10:96::5', port: 80 })).to.include({
      destination: 'fd00:10:244:1::2',
      port: 8080,
      masqueraded: false,
    });
    expect(world.text).to.contain('--to-destination [fd00:10:244:1::2]:8080');
    expect(world.send({ from: 'fd00::1', to: 'fd00:10:96::5', port: 80 }).masqueraded).to.equal(true);
  });
});

interface Sent {
  readonly from: string;
  readonly to: string;
  readonly port: number;
}

function cluster(
  spec: Partial<ServiceSpec>,
  endpoints: NonNullable<EndpointSlice['endpoints']>,
  more: Partial<IptablesOptions> & { brief?: boolean; status?: NonNullable<Service['status']> } = {},
) {
  const { brief = false, status = {}, ...changes } = more;
  const options: IptablesOptions = {
    node,
    family: 'ip',
    clusterCIDRs: ['10.244.0.0/16'],
    nodeAddresses: [nodeAddress],
    nodePortAddresses: undefined,
    localhostNodePorts: true,
    ...changes,
  };
  const family = options.family === 'ip' ? 4 : 6;
  const object: Service = {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      clusterIP: '10.96.0.5',
      ports: [{ port: 80, ...(spec.type === 'NodePort' && { nodePort: 30080 }) }],
      ...spec,
    },
    status,
  };
  const slice: EndpointSlice = {
    metadata: { name: 'web-1', namespace: 'default' },
    addressType: `IPv${family}`,
    endpoints,
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  };
  const backends = backendsByPort([slice], node, family);
  const parts = servicePorts(object, family).map((port) =>
    planServiceChains(port, backends.get(`${port.portName}/${port.protocol}`) ?? [], { options, brief }),
  );
  const store = new ChainStore();
  store.replace('default/web', parts);
  const text = wholeState(store, options);
  const tables = parseChains(text);
  const send = ({ from, to, port }: Sent, options: Partial<ChainTraceOptions> = {}): ChainTrace =>
    traceChains(
      tables,
      { source: from, destination: to, port, protocol: 'tcp' },
      { localAddresses: [nodeAddress, '127.0.0.1'], ...options },
    );
  return { text, send, chains: tables.get('nat') ?? new Map<string, string[]>() };
}

/** The state of the kernel after everything was written. */
function wholeState(store: ChainStore, options: IptablesOptions): string {
  const missing = baseChains(options).hooks;
  return store.whole(options, { written: new Map(), stale: [], missing }).replaceAll(/^-I /gm, '-A ');
}

function endpoint(address: string, local = false, conditions = {}): NonNullable<EndpointSlice['endpoints']>[number] {
  return { addresses: [address], nodeName: local ? node.name : 'other', conditions };
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { partyName, type Model, type ModelPod, type ModelService } from './model.ts';
import { resolveTarget, type Target } from './services.ts';

function pod(name: string, node: string, web: number): ModelPod {
  const last = name.codePointAt(0);
  return {
    namespace: 'x',
    name,
    labels: { app: 'web' },
    addresses: [`10.0.0.${last}`, `fd00::${last}`],
    node,
    namedPorts: { 'tcp/web': web },
    ready: name !== 'c',
  };
}

const service: ModelService = {
  namespace: 'x',
  name: 'web',
  clusterIPs: ['10.96.0.7', 'fd96::7'],
  externalIPs: ['192.0.2.9'],
  selector: { app: 'web' },
  ports: [{ name: 'http', protocol: 'tcp', port: 80, targetPort: 'web', nodePort: 30_080 }],
};
const pods = [pod('a', 'one', 8080), pod('b', 'two', 8081), pod('c', 'two', 8080)];
const model: Model = {
  pods,
  namespaces: new Map(),
  policies: [],
  nodes: [{ name: 'two', labels: {}, addresses: ['172.18.0.3'] }],
  services: [service],
};

function arrivals(target: Target, port: number, changed: Partial<ModelService> = {}): string[] {
  const services = [{ ...service, ...changed }];
  const source = pods[0] ?? { address: '192.0.2.1' };
  const given = 'service' in target ? { service: services[0] ?? service } : target;
  return resolveTarget({ ...model, services }, given, { source, protocol: 'tcp', port }).map(
    (one) => `${partyName(one.destination)}:${one.port} ${one.via}`,
  );
}

describe('oracle: Services', () => {
  it('leads a ClusterIP, an externalIP and a NodePort to ready endpoints, names resolved per pod', () => {
    const behind = ['x/a:8080', 'x/b:8081'];
    expect(arrivals({ service }, 80)).to.deep.equal(behind.map((one) => `${one} ClusterIP of Service x/web port 80`));
    expect(arrivals({ address: 'fd96:0::7' }, 80)).to.have.length(2);
    expect(arrivals({ address: '192.0.2.9' }, 80)[0]).to.include('externalIP of Service x/web');
    expect(arrivals({ address: '172.18.0.3' }, 30_080)[1]).to.equal(
      'x/b:8081 NodePort 30080 of two of Service x/web port 80',
    );
    expect(arrivals({ service }, 81)).to.deep.equal([]);
  });

  it('keeps to the node where the policy says Local', () => {
    expect(arrivals({ service }, 80, { internalTrafficPolicy: 'Local' })).to.have.length(1);
    expect(arrivals({ address: '172.18.0.3' }, 30_080, { externalTrafficPolicy: 'Local' })).to.deep.equal([
      'x/b:8081 NodePort 30080 of two of Service x/web port 80',
    ]);
  });

  it('does not translate for a headless Service, and follows EndpointSlices where there is no selector', () => {
    expect(arrivals({ service }, 8080, { clusterIPs: [] })).to.deep.equal([
      'x/a:8080 headless Service x/web',
      'x/b:8080 headless Service x/web',
    ]);
    const endpoints = [
      { address: '10.0.0.97', port: 9, portName: 'http' },
      { address: '198.51.100.1', port: 9, portName: 'http' },
    ];
    const { selector: _, ...unselected } = service;
    const target = { service: { ...unselected, selector: undefined, endpoints } };
    expect(
      resolveTarget(model, target, { source: { address: '192.0.2.1' }, protocol: 'tcp', port: 80 }).map((one) =>
        partyName(one.destination),
      ),
    ).to.deep.equal(['x/a', '198.51.100.1']);
  });

  it('finds the pod behind an address, and takes others as they are', () => {
    expect(arrivals({ address: '10.0.0.98' }, 5)).to.deep.equal(['x/b:5 ']);
    expect(arrivals({ address: '203.0.113.7' }, 5)).to.deep.equal(['203.0.113.7:5 ']);
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { EndpointSlice, Pod, Service } from '../../machinery/api-types.ts';
import { planEndpoints } from '../endpoints/plan.ts';
import { endpointGroups } from './endpoints.ts';
import type { EndpointGroup } from './endpoints.ts';
import { planSlices } from './plan.ts';

const service: Service = {
  metadata: { name: 's', namespace: 'x' },
  spec: {
    selector: { app: 's' },
    clusterIP: '10.96.0.5',
    ipFamilies: ['IPv4'],
    ports: [{ name: 'web', port: 80, targetPort: 'http', protocol: 'TCP' }],
  },
};

function pod(
  number: number,
  options: { ready?: boolean; going?: boolean; port?: number; phase?: 'Running' | 'Failed' } = {},
): Pod {
  const { ready = true, going = false, port = 8080, phase = 'Running' } = options;
  return {
    metadata: {
      name: `p${number}`,
      namespace: 'x',
      uid: `u${number}`,
      labels: { app: 's' },
      ...(going && { deletionTimestamp: 'now' }),
    },
    spec: {
      nodeName: 'n1',
      hostname: `p${number}`,
      subdomain: 's',
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: port }] }],
    },
    status: {
      phase,
      podIPs: [{ ip: `10.0.${number >> 8}.${number & 255}` }, { ip: `fd00::${number.toString(16)}` }],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  };
}

const node = () => ({ metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'z1' } } });
const identity = {
  metadata: { generateName: 's-', namespace: 'x', labels: { a: 'b' }, ownerReferences: [] },
  addressTypes: ['IPv4'],
};

describe('controllers/endpointslice endpoints', () => {
  it('marks what is ready, serving and terminating', () => {
    const [group] = endpointGroups(
      service,
      [pod(1), pod(2, { ready: false }), pod(3, { going: true }), pod(4, { phase: 'Failed' })],
      node,
    );
    expect(group?.ports).to.deep.equal([{ name: 'web', port: 8080, protocol: 'TCP' }]);
    expect(group?.endpoints.map(({ conditions }) => conditions)).to.deep.equal([
      { ready: true, serving: true, terminating: false },
      { ready: false, serving: false, terminating: false },
      { ready: false, serving: true, terminating: true },
    ]);
    expect(group?.endpoints[0]).to.deep.include({
      addresses: ['10.0.0.1'],
      hostname: 'p1',
      nodeName: 'n1',
      zone: 'z1',
    });
  });

  it('groups pods by what a named port means on them, and by address family', () => {
    const dual = { ...service, spec: { ...service.spec, ipFamilies: ['IPv4' as const, 'IPv6' as const] } };
    const groups = endpointGroups(dual, [pod(1), pod(2, { port: 9090 })], node);
    expect(groups.map(({ addressType, ports }) => `${addressType} ${ports[0]?.port}`)).to.deep.equal([
      'IPv4 8080',
      'IPv4 9090',
      'IPv6 8080',
      'IPv6 9090',
    ]);
  });

  it('publishes addresses that are not ready when asked to, in Endpoints too', () => {
    const early = { ...service, spec: { ...service.spec, publishNotReadyAddresses: true } };
    expect(endpointGroups(early, [pod(1, { ready: false })], node)[0]?.endpoints[0]?.conditions?.ready).to.equal(true);
    expect(planEndpoints(early, [pod(1, { ready: false })], undefined).subsets?.[0]?.addresses).to.have.length(1);
    const [subset] =
      planEndpoints(service, [pod(1), pod(2, { ready: false }), pod(3, { going: true })], undefined).subsets ?? [];
    expect([subset?.addresses?.length, subset?.notReadyAddresses?.length]).to.deep.equal([1, 1]);
  });

  it('hints at the own zone for trafficDistribution', () => {
    const close = { ...service, spec: { ...service.spec, trafficDistribution: 'PreferClose' } };
    expect(endpointGroups(close, [pod(1)], node)[0]?.endpoints[0]?.hints).to.deep.equal({ forZones: [{ name: 'z1' }] });
  });
});

describe('controllers/endpointslice plan', () => {
  const group = (numbers: readonly number[]): EndpointGroup[] =>
    endpointGroups(
      service,
      numbers.map((number) => pod(number)),
      node,
    );
  /** What the slices are after the plan was carried out. */
  const apply = (slices: readonly EndpointSlice[], groups: EndpointGroup[]): EndpointSlice[] => {
    const plan = planSlices(identity, groups, slices);
    const updated = new Map(plan.update.map((slice) => [slice.metadata.name, slice]));
    const kept = slices
      .filter((slice) => !plan.remove.includes(slice))
      .map((slice) => updated.get(slice.metadata.name) ?? slice);
    const created = plan.create.map((slice) => ({
      ...slice,
      metadata: { ...slice.metadata, name: `s${Math.random()}` },
    }));
    return [...kept, ...created];
  };
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

  it('keeps an empty slice when there is no endpoint', () => {
    const [slice] = apply([], group([]));
    expect(slice).to.deep.include({ addressType: 'IPv4', endpoints: [], ports: [] });
    expect(planSlices(identity, group([]), [slice as EndpointSlice])).to.deep.equal({
      create: [],
      update: [],
      remove: [],
    });
  });

  it('writes one slice when one of 250 endpoints changes, and none when nothing does', () => {
    const slices = apply([], group(range(1, 251)));
    expect(slices.map(({ endpoints }) => endpoints?.length)).to.deep.equal([100, 100, 50]);
    expect(planSlices(identity, group(range(1, 251)), slices)).to.deep.equal({ create: [], update: [], remove: [] });
    const change = planSlices(identity, group([...range(1, 50), ...range(51, 252)]), slices);
    expect([change.create.length, change.update.length, change.remove.length]).to.deep.equal([0, 1, 0]);
  });

  it('always holds exactly the wanted endpoints, at most 100 to a slice', () => {
    const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 400 }), { maxLength: 300 });
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 1, maxLength: 4 }), (rounds) => {
        let slices: EndpointSlice[] = [];
        for (const round of rounds) {
          slices = apply(slices, group(round));
          const held = slices.flatMap(({ endpoints = [] }) => endpoints.map(({ targetRef }) => targetRef?.uid));
          expect(held.toSorted()).to.deep.equal(round.map((number) => `u${number}`).toSorted());
          expect(Math.max(...slices.map(({ endpoints }) => endpoints?.length ?? 0))).to.be.at.most(100);
        }
      }),
      { numRuns: 20 },
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Service } from '../../../machinery/api-types.ts';
import type { KubeObject, ResourceDefinition } from '../definition.ts';
import { memoryRegistry, testConfig, testContext, told } from '../testing.ts';
import { services } from './services.ts';

function service(spec: object): KubeObject {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' }, spec };
}

async function create(definition: ResourceDefinition, spec: object, context = testContext()): Promise<Service> {
  const object = service(structuredClone(spec));
  definition.default?.(object);
  definition.prepareForCreate?.(object, context);
  expect(told(definition.validate?.(object, context) ?? [])).to.deep.equal([]);
  await definition.allocate?.(object, undefined, context);
  return object as unknown as Service;
}

async function refused(made: Promise<unknown>): Promise<string> {
  return made.then(
    () => 'not refused',
    (error: unknown) => (error as Error).message,
  );
}

describe('services', () => {
  it('get an address, families and node ports', async () => {
    const { spec } = await create(services(testConfig), {
      type: 'NodePort',
      selector: { a: 'b' },
      ports: [{ port: 80 }],
    });
    expect(spec).to.deep.include({
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Cluster',
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
    });
    expect(spec?.clusterIP).to.match(/^10\.96\.0\.\d+$/);
    expect(spec?.clusterIPs).to.deep.equal([spec?.clusterIP]);
    expect(spec?.ports?.[0]).to.deep.include({ protocol: 'TCP', targetPort: 80 });
    expect(spec?.ports?.[0]?.nodePort).to.be.within(30_000, 30_127);
  });

  it('share one node port between protocols of a port', async () => {
    const ports = [
      { name: 'a', port: 53, protocol: 'UDP' },
      { name: 'b', port: 53, protocol: 'TCP' },
    ];
    const { spec } = await create(services(testConfig), { type: 'NodePort', ports });
    expect(spec?.ports?.[0]?.nodePort).to.equal(spec?.ports?.[1]?.nodePort);
  });

  it('never get what is taken, asked for twice, or outside the ranges', async () => {
    const registry = memoryRegistry({ services: [service({ type: 'ClusterIP', clusterIP: '10.96.0.7' })] });
    const definition = services(testConfig);
    const context = testContext(registry);
    const ports = [{ port: 80 }];
    expect(await refused(create(definition, { clusterIP: '10.96.0.7', ports }, context))).to.contain(
      'provided IP is already allocated',
    );
    expect(await refused(create(definition, { clusterIP: '10.97.0.7', ports }, context))).to.contain(
      'is not in the valid range',
    );
    const node = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_001 }] };
    const first = await create(definition, node, context);
    expect(await refused(create(definition, node, context))).to.contain('provided port is already allocated');
    await definition.release?.(first as unknown as KubeObject, registry);
    expect((await create(definition, node, context)).spec?.ports?.[0]?.nodePort).to.equal(30_001);
    const taken = new Set<string | undefined>(['10.96.0.7']);
    for (let count = 0; count < 250; count++) {
      const { spec } = await create(definition, { ports }, context);
      expect(taken.has(spec?.clusterIP)).to.equal(false);
      taken.add(spec?.clusterIP);
    }
  });

  it('get addresses of every ServiceCIDR that is Ready, each with an object that says whose it is', async () => {
    const cidr = (name: string, range: string, status: string, metadata = {}): KubeObject => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name, ...metadata },
      spec: { cidrs: [range] },
      status: { conditions: [{ type: 'Ready', status }] },
    });
    const registry = memoryRegistry({
      'servicecidrs.networking.k8s.io': [
        cidr('kubernetes', '10.96.0.0/30', 'True'),
        cidr('more', '10.196.0.0/28', 'True'),
        cidr('young', '10.197.0.0/24', 'False'),
        cidr('old', '10.198.0.0/24', 'True', { deletionTimestamp: '2026-11-21T00:00:00Z' }),
      ],
      'ipaddresses.networking.k8s.io': [
        { apiVersion: 'networking.k8s.io/v1', kind: 'IPAddress', metadata: { name: '10.196.0.8' } },
      ],
    });
    const context = testContext(registry);
    const definition = services({ ...testConfig, serviceClusterIPRanges: ['10.96.0.0/30'] });
    const ports = [{ port: 80 }];
    const given = async (clusterIP: string): Promise<string> =>
      refused(create(definition, { clusterIP, ports }, context));
    expect(await given('10.196.0.7')).to.equal('not refused');
    const [, held] = registry.list('ipaddresses.networking.k8s.io');
    expect(held?.metadata.name).to.equal('10.196.0.7');
    expect(held?.['spec']).to.deep.equal({
      parentRef: { group: '', resource: 'services', namespace: 'default', name: 'web' },
    });
    expect(await given('10.196.0.7')).to.contain('already allocated');
    expect(await given('10.196.0.8'), 'held by something else').to.contain('already allocated');
    expect(await given('10.197.0.7')).to.contain('The range of valid IPs is 10.96.0.0/30,10.196.0.0/28');
    expect(await given('10.198.0.7')).to.contain('not in the valid range');
    const found = new Set<string | undefined>();
    for (let count = 0; count < 2 + 12; count++)
      found.add((await create(definition, { ports }, context)).spec?.clusterIP);
    expect([...found].filter((address) => address?.startsWith('10.96.'))).to.have.length(2);
    expect(found).to.have.length(14);
    expect(found).not.to.include('10.196.0.8');
    expect(await refused(create(definition, { ports }, context))).to.contain('range is full');
  });

  it('keep what they have over updates, and give it up with their type', async () => {
    const definition = services(testConfig);
    const old = await create(definition, { type: 'NodePort', ports: [{ port: 80 }] });
    const update = (spec: object): KubeObject => {
      const next = service(structuredClone(spec));
      definition.default?.(next);
      definition.prepareForUpdate?.(next, old as unknown as KubeObject, testContext());
      return next;
    };
    const kept = update({ type: 'NodePort', ports: [{ port: 80 }, { name: 'x', port: 81 }] }) as unknown as Service;
    expect(kept.spec?.clusterIP).to.equal(old.spec?.clusterIP);
    expect(kept.spec?.ports?.[0]?.nodePort).to.equal(old.spec?.ports?.[0]?.nodePort);
    const external = update({ ...old.spec, type: 'ExternalName', externalName: 'example.com' });
    expect(
      told(definition.validateUpdate?.(external, old as unknown as KubeObject, testContext()) ?? []),
    ).to.deep.equal([]);
    expect((external as unknown as Service).spec).to.not.have.any.keys(
      'clusterIP',
      'clusterIPs',
      'externalTrafficPolicy',
    );
    const moved = update({ ...old.spec, clusterIP: '10.96.0.99' });
    expect(told(definition.validateUpdate?.(moved, old as unknown as KubeObject, testContext()) ?? [])).to.deep.equal([
      'spec.clusterIPs[0]: Invalid value: may not change once set',
    ]);
  });

  describe('of two families', () => {
    const ports = [{ port: 80 }];
    const dual = { ...testConfig, serviceClusterIPRanges: ['10.96.0.0/24', 'fd00:10:96::/112'] };
    const v4 = /^10\.96\.0\./;
    const v6 = /^fd00:10:96::/;

    it('come by policy: one family unless asked, both where they can be had', async () => {
      const definition = services(dual);
      const single = await create(definition, { ports });
      expect(single.spec).to.deep.include({ ipFamilyPolicy: 'SingleStack', ipFamilies: ['IPv4'] });
      for (const ipFamilyPolicy of ['PreferDualStack', 'RequireDualStack']) {
        const { spec } = await create(definition, { ports, ipFamilyPolicy });
        expect(spec).to.deep.include({ ipFamilyPolicy, ipFamilies: ['IPv4', 'IPv6'] });
        expect(spec?.clusterIP).to.equal(spec?.clusterIPs?.[0]).and.match(v4);
        expect(spec?.clusterIPs?.[1]).to.match(v6);
      }
      const turned = await create(definition, { ports, ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv6'] });
      expect(turned.spec?.ipFamilies).to.deep.equal(['IPv6', 'IPv4']);
      expect(turned.spec?.clusterIP).to.match(v6);
      const byAddress = await create(definition, { ports, clusterIP: 'fd00:10:96::77' });
      expect(byAddress.spec).to.deep.include({ ipFamilies: ['IPv6'], clusterIPs: ['fd00:10:96::77'] });
      const headless = await create(definition, {
        ports,
        clusterIP: 'None',
        ipFamilyPolicy: 'PreferDualStack',
        selector: { a: 'b' },
      });
      expect(headless.spec).to.deep.include({ ipFamilies: ['IPv4', 'IPv6'], clusterIPs: ['None'] });
      const alone = await create(services(testConfig), { ports, ipFamilyPolicy: 'PreferDualStack' });
      expect(alone.spec).to.deep.include({ ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv4'] });
    });

    it('gain and lose the second by a change of policy, and by nothing else', async () => {
      const definition = services(dual);
      const context = testContext();
      const change = (old: Service, spec: object): { service: Service; errors: string[] } => {
        const next = service(structuredClone(spec));
        definition.default?.(next);
        definition.prepareForUpdate?.(next, old as unknown as KubeObject, context);
        const errors = [
          ...(definition.validate?.(next, context) ?? []),
          ...(definition.validateUpdate?.(next, old as unknown as KubeObject, context) ?? []),
        ];
        return { service: next as unknown as Service, errors: told(errors) };
      };
      const old = await create(definition, { ports });
      const up = change(old, { ...old.spec, ipFamilyPolicy: 'RequireDualStack' });
      expect(up.errors).to.deep.equal([]);
      await definition.allocate?.(up.service as unknown as KubeObject, old as unknown as KubeObject, context);
      expect(up.service.spec?.clusterIPs?.[0]).to.equal(old.spec?.clusterIP);
      expect(up.service.spec?.clusterIPs?.[1]).to.match(v6);
      const down = change(up.service, { ...up.service.spec, ipFamilyPolicy: 'SingleStack' });
      expect(down.errors).to.deep.equal([]);
      expect(down.service.spec).to.deep.include({ ipFamilies: ['IPv4'], clusterIPs: [old.spec?.clusterIP] });
      const second = up.service.spec?.clusterIPs?.[1] ?? '';
      await definition.allocate?.(down.service as unknown as KubeObject, up.service as unknown as KubeObject, context);
      expect((await create(definition, { ports, clusterIP: second }, context)).spec?.clusterIP).to.equal(second);
      const { ipFamilies = [], clusterIPs = [] } = up.service.spec ?? {};
      const dropped = change(up.service, {
        ...up.service.spec,
        ipFamilies: ipFamilies.slice(0, 1),
        clusterIPs: clusterIPs.slice(0, 1),
      });
      expect(dropped.errors).to.include(
        "spec.ipFamilyPolicy: Invalid value: must be 'SingleStack' to release the secondary IP family",
      );
      const swapped = change(up.service, { ...up.service.spec, ipFamilies: ['IPv6', 'IPv4'] });
      expect(swapped.errors).to.include('spec.ipFamilies[0]: Invalid value: may not change once set');
      // The cluster had one family when it was made.
      const preferring = await create(services(testConfig), { ports, ipFamilyPolicy: 'PreferDualStack' });
      expect(change(preferring, preferring.spec ?? {}).service.spec?.ipFamilies).to.deep.equal(['IPv4']);
    });

    const refusals: readonly (readonly [cluster: typeof testConfig, spec: object, error: string])[] = [
      [testConfig, { ipFamilies: ['IPv6'] }, 'spec.ipFamilies[0]: Invalid value: not configured on this cluster'],
      [
        testConfig,
        { ipFamilyPolicy: 'RequireDualStack' },
        'spec.ipFamilyPolicy: Invalid value: this cluster is not configured for dual-stack services',
      ],
      [
        dual,
        { ipFamilies: ['IPv4', 'IPv6'] },
        "spec.ipFamilyPolicy: Invalid value: must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
      ],
      [
        dual,
        { ipFamilyPolicy: 'PreferDualStack', clusterIP: '10.96.0.5', clusterIPs: ['10.96.0.5', '10.96.0.6'] },
        'spec.clusterIPs: Invalid value: may specify no more than one IP for each IP family',
      ],
      [
        dual,
        { clusterIP: '10.96.0.5', ipFamilies: ['IPv6'] },
        'spec.clusterIPs[0]: Invalid value: expected an IPv6 value as indicated by `ipFamilies[0]`',
      ],
      [
        dual,
        { clusterIPs: ['10.96.0.5'] },
        'spec.clusterIPs: Invalid value: must be empty when `clusterIP` is not specified',
      ],
    ];
    for (const [cluster, spec, error] of refusals) {
      it(`are refused: ${error}`, () => {
        const definition = services(cluster);
        const object = service({ ports, ...structuredClone(spec) });
        definition.default?.(object);
        definition.prepareForCreate?.(object, testContext());
        expect(told(definition.validate?.(object, testContext()) ?? [])).to.include(error);
      });
    }
  });

  it('have names that may begin with a digit', () => {
    const definition = services(testConfig);
    const refusals = (name: string): string[] => {
      const object = service({ ports: [{ port: 80 }] });
      object.metadata.name = name;
      definition.default?.(object);
      definition.prepareForCreate?.(object, testContext());
      return told(definition.validate?.(object, testContext()) ?? []);
    };
    expect(refusals('1kubernetes')).to.deep.equal([]);
    expect(refusals('a.b')[0]).to.include('RFC 1123 label');
  });

  const wrong: readonly (readonly [spec: object, error: string])[] = [
    [{}, 'spec.ports: Required value'],
    [{ ports: [{ port: 1 }, { name: 'b', port: 2 }] }, 'spec.ports[0].name: Required value'],
    [{ ports: [{ port: 0 }] }, 'spec.ports[0].port: Invalid value: must be between 1 and 65535, inclusive'],
    [{ type: 'ExternalName' }, 'spec.externalName: Required value'],
    [
      { type: 'NodePort', clusterIP: 'None', ports: [{ port: 1 }] },
      "spec.clusterIPs[0]: Invalid value: may not be set to 'None' for NodePort services",
    ],
    [
      { ports: [{ port: 1, nodePort: 30_000 }] },
      "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ],
  ];
  for (const [spec, error] of wrong) {
    it(`are refused: ${error}`, () => {
      const definition = services(testConfig);
      const object = service(structuredClone(spec));
      definition.default?.(object);
      definition.prepareForCreate?.(object, testContext());
      expect(told(definition.validate?.(object, testContext()) ?? [])).to.include(error);
    });
  }
});

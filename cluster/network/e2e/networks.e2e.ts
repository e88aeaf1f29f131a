// SPDX-License-Identifier: Apache-2.0
// Clusters with two address families, an overlay, and BGP: that pods of different nodes reach each other the way that was
// asked for, and that it lasts. Needs root, and for BGP the package bird2.

import { expect } from 'chai';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { controlService } from '../../machines/supervisor.ts';
import { until } from '../../machines/until.ts';
import { planAnnouncements } from '../load-balancer-plan.ts';
import { ClusterWorld } from './cluster-world.ts';
import type { IPAddress, Node, Service, ServiceCIDR } from '../../machinery/api-types.ts';

const waitMs = 120_000;

describe('networks of clusters', function () {
  this.timeout(400_000);
  this.bail(true);
  let stateDirectory: string;

  before(() => {
    stateDirectory = mkdtempSync(join(tmpdir(), 'plumb-net-'));
    process.env['PLUMB_STATE_DIR'] = stateDirectory;
  });
  after(() => {
    delete process.env['PLUMB_STATE_DIR'];
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  describe('of two families over an overlay', () => {
    const world = new ClusterWorld('net-e2e', ['--ip-family', 'dual', '--network', 'vxlan']);
    before(() => world.up());
    after(() => world.down());

    it('have addresses of both on nodes, pods and Services, and slices of each', async () => {
      await world.startPod('a', 'worker', { 'kubernetes.io/ingress-bandwidth': '8M' });
      await world.startPod('b', 'control-plane');
      const nodes = (await world.client.list<Node>(resources.nodes)).items;
      for (const node of nodes) {
        const internal = (node.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
        expect(internal.map(({ address }) => address.includes(':'))).to.deep.equal([false, true]);
        expect(node.spec?.podCIDRs).to.have.length(2);
      }
      expect(await world.addresses('a')).to.have.length(2);
      const service = await world.client.create<Service>(resources.services, {
        metadata: { name: 'web', namespace: 'default' },
        spec: { selector: { app: 'web' }, ipFamilyPolicy: 'RequireDualStack', ports: [{ port: 80, targetPort: 8080 }] },
      });
      expect(service.spec?.ipFamilies).to.deep.equal(['IPv4', 'IPv6']);
      const slices = async (): Promise<boolean> => {
        const { items } = await world.client.list<{ addressType: string }>(resources.endpointSlices, {
          namespace: 'default',
          labelSelector: 'kubernetes.io/service-name=web',
        });
        return new Set(items.map(({ addressType }) => addressType)).size === 2;
      };
      await until(slices, { what: 'a slice of each family', timeoutMs: waitMs });
      for (const address of service.spec?.clusterIPs ?? []) {
        await until(async () => (await world.get('a', address, 80)).startsWith('hello'), {
          what: `the Service at ${address}`,
          timeoutMs: waitMs,
        });
      }
    });

    it('carry pods inside packets of the nodes, and nothing of pods outside', async () => {
      const [v4 = '', v6 = ''] = await world.addresses('b');
      const capture = world.capture('worker', 'eth0', 'udp port 8472');
      const stray = world.capture('worker', 'eth0', 'net 10.244.0.0/16 or net fd00:10:244::/56');
      await Promise.all([capture.ready, stray.ready]);
      for (const address of [v4, v6]) expect(await world.get('a', address, 8080)).to.equal('hello b\n');
      const inside = await capture.stop();
      expect(inside)
        .to.match(/10\.244\.\d+\.\d+\.8080/)
        .and.match(/fd00:10:244:\w*:+\w+\.8080/);
      expect((await stray.stop()).split('\n').filter((line) => line.includes(' > '))).to.deep.equal([]);
    });

    it('limit a pod to the bandwidth of its annotation', async () => {
      const [address = ''] = await world.addresses('b');
      const start = performance.now();
      const bytes = (await world.get('a', address, 8080, 'large')).length;
      const bitsPerSecond = (bytes * 8) / ((performance.now() - start) / 1000);
      expect(bytes).to.equal(2 * 1024 * 1024);
      expect(bitsPerSecond).to.be.lessThan(8e6 * 1.15);
    });

    it('lose nothing when the agent is killed, and what is nobody’s when it is back', async () => {
      const [address = ''] = await world.addresses('b');
      await world.inNode('worker', 'ip neigh add 10.244.99.0 lladdr 0a:00:00:00:00:01 dev plumb.1 nud permanent');
      await controlService(world.node('worker').directory, 'network-agent', 'kill');
      expect(await world.get('a', address, 8080)).to.equal('hello b\n');
      const gone = async (): Promise<boolean> =>
        !(await world.inNode('worker', 'ip neigh show dev plumb.1')).includes('10.244.99.0');
      await until(gone, { what: 'the stale entry to go', timeoutMs: waitMs, intervalMs: 500 });
    });

    it('serve Services on addresses of another ServiceCIDR, which stays as long as it is used', async () => {
      const { client } = world;
      const address = '10.196.196.77';
      await client.create(resources.serviceCIDRs, { metadata: { name: 'more' }, spec: { cidrs: ['10.196.196.0/24'] } });
      const ready = async (status: string): Promise<void> => {
        const is = async (): Promise<boolean> =>
          (await client.get<ServiceCIDR>(resources.serviceCIDRs, 'more')).status?.conditions?.some(
            (one) => one.type === 'Ready' && one.status === status,
          ) ?? false;
        await until(is, { what: `the ServiceCIDR to be ready: ${status}`, timeoutMs: waitMs, intervalMs: 50 });
      };
      await ready('True');
      await client.create<Service>(resources.services, {
        metadata: { name: 'other', namespace: 'default' },
        spec: { clusterIP: address, selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      });
      const { spec } = await client.get<IPAddress>(resources.ipAddresses, address);
      expect(spec?.parentRef).to.deep.equal({ group: '', resource: 'services', namespace: 'default', name: 'other' });
      await until(async () => (await world.get('a', address, 80)).startsWith('hello'), {
        what: `the Service at ${address}`,
        timeoutMs: waitMs,
      });
      await client.delete(resources.serviceCIDRs, 'more');
      await ready('False');
      await client.delete(resources.services, 'other', { namespace: 'default' });
      const gone = async (): Promise<boolean> =>
        client.get(resources.serviceCIDRs, 'more').then(() => false, isNotFound);
      await until(gone, { what: 'the ServiceCIDR to go', timeoutMs: waitMs, intervalMs: 50 });
    });

    it('reach load balancers from outside nodes, by source range, also when the announcing node is lost', async () => {
      const wanted = await addressAnnouncedBy(world, 'worker');
      const { metadata } = await world.client.create<Service>(resources.services, {
        metadata: { name: 'balanced', namespace: 'default' },
        spec: {
          type: 'LoadBalancer',
          loadBalancerIP: wanted,
          selector: { app: 'web' },
          ports: [{ port: 80, targetPort: 8080 }],
        },
      });
      const answered = (hope: RegExp, what: string): Promise<void> =>
        until(async () => hope.test(await fromHost(wanted)), { what, timeoutMs: waitMs, intervalMs: 50 });
      const admit = (range: string): Promise<Service> =>
        world.client.patch<Service>(resources.services, metadata.name ?? '', {
          namespace: 'default',
          type: 'merge',
          body: { spec: { loadBalancerSourceRanges: [range] } },
        });
      await answered(/^hello [ab]$/, `the load balancer at ${wanted}`);
      const { status } = await world.client.get<Service>(resources.services, metadata.name ?? '', 'default');
      expect(status?.loadBalancer?.ingress).to.deep.equal([{ ip: wanted, ipMode: 'VIP' }]);
      await admit('192.0.2.0/24');
      await answered(/^$/, 'the host to be turned away');
      await admit(wanted.replace(/\d+$/, '1/32'));
      await answered(/^hello [ab]$/, 'the host to be admitted');
      await world.lose('worker');
      await answered(/^hello b$/, 'the other node to take over');
    });
  });

  describe('that speak BGP', () => {
    const world = new ClusterWorld('net-e2e-bgp', ['--network', 'bgp']);
    before(() => world.up());
    after(() => world.down());

    it('have routes of BIRD, which outlive it', async () => {
      await world.startPod('a', 'worker');
      await world.startPod('b', 'control-plane');
      const [address = ''] = await world.addresses('b');
      await until(async () => (await world.get('a', address, 8080)) === 'hello b\n', {
        what: 'the sessions to be established',
        timeoutMs: waitMs,
        intervalMs: 500,
      });
      const routes = await world.inNode('worker', 'ip route show proto bird');
      expect(routes)
        .to.match(/^blackhole 10\.244\.\d+\.\d+\/26/m)
        .and.match(/^10\.244\.\d+\.\d+\/26 via 172\./m);
      await controlService(world.node('worker').directory, 'bird', 'kill');
      expect(await world.get('a', address, 8080)).to.equal('hello b\n');
      expect(await world.get('b', (await world.addresses('a'))[0] ?? '', 8080)).to.equal('hello a\n');
    });

    it('get another block before the first is full, and its pods are reached', async () => {
      const [address = ''] = await world.addresses('a');
      const leases = join(world.node('worker').directory, 'cni-state', 'networks', 'plumb');
      const [, net = '', last = ''] = /^(.*\.)(\d+)$/.exec(address) ?? [];
      const first = Number(last) - (Number(last) % 64);
      const held = new Set(readdirSync(leases));
      // As many pods would have left these behind.
      for (let number = first + 2; number < first + 63; number++)
        if (!held.has(`${net}${number}`)) writeFileSync(join(leases, `${net}${number}`), 'nobody');
      const granted = async (): Promise<boolean> =>
        (await world.inNode('worker', 'cat /etc/cni/net.d/10-plumb.conflist')).match(/"subnet"/g)?.length === 2;
      await until(granted, { what: 'a second block', timeoutMs: waitMs, intervalMs: 200 });
      await world.startPod('c', 'worker');
      const [beyond = ''] = await world.addresses('c');
      expect(beyond).to.not.satisfy((one: string) => {
        const number = Number(one.split('.').at(-1));
        return one.startsWith(net) && number >= first && number < first + 64;
      });
      await until(async () => (await world.get('b', beyond, 8080)) === 'hello c\n', {
        what: `the pod at ${beyond}`,
        timeoutMs: waitMs,
        intervalMs: 500,
      });
    });
  });
});

/** A free address of load balancers that this node is going to answer for. */
async function addressAnnouncedBy(world: ClusterWorld, node: string): Promise<string> {
  const nodes = (await world.client.list<Node>(resources.nodes)).items;
  const service = (ip: string): Service => ({
    metadata: { namespace: 'default', name: ip },
    spec: { type: 'LoadBalancer' },
    status: { loadBalancer: { ingress: [{ ip }] } },
  });
  const [first = ''] = world.loadBalancerRange.split('-');
  const candidates = Array.from({ length: 20 }, (_unused, index) =>
    first.replace(/\d+$/, (last) => String(Number(last) + index)),
  );
  const plan = planAnnouncements({ nodes, services: candidates.map(service), slices: () => [] });
  const found = candidates.find((address) => plan.get(address) === world.node(node).name);
  if (found === undefined) throw new Error(`${node} answers for none of ${candidates.join(', ')}`);
  return found;
}

/** What a server says to the host, which is no node; empty when nothing does within half a second. */
async function fromHost(address: string): Promise<string> {
  try {
    const headers = { connection: 'close' };
    const response = await fetch(`http://${address}/`, { headers, signal: AbortSignal.timeout(500) });
    return (await response.text()).trim();
  } catch {
    return '';
  }
}

// SPDX-License-Identifier: Apache-2.0
// Services with real packets in every mode and both families, as root, in namespaces of this test's own.
import { expect } from 'chai';

import { makeWorld } from '../../network/e2e/netns-world.ts';
import { startProxy } from './proxy-handle.ts';
import type { EndpointSlice, Service, ServiceSpec } from '../../machinery/api-types.ts';
import type { Peer, World } from '../../network/e2e/netns-world.ts';
import type { ProxyHandle } from './proxy-handle.ts';
import type { ProxyMode, ProxyState } from './proxy-process.ts';

const clusterIP = '10.96.0.5';
const clusterIPv6 = 'fd00:10:96::5';
const loadBalancerIP = '203.0.113.7';
const externalIP = '203.0.113.8';

describe('kube-proxy with real packets', function () {
  this.timeout(60_000);
  let world: World;
  const proxies: ProxyHandle[] = [];

  before(async () => {
    world = await makeWorld();
    const nodes = [
      [world.node1, '10.244.2.0/24', '172.30.0.2'],
      [world.node2, '10.244.1.0/24', '172.30.0.1'],
    ] as const;
    for (const [index, [node, pods, via]] of nodes.entries()) {
      const other = 2 - index;
      node.run(
        `ip route add ${pods} via ${via}; sysctl -qw net.ipv6.conf.all.forwarding=1; ` +
          `ip -6 addr add fd00:30::${index + 1}/64 dev eth0 nodad; ip -6 route add default via fd00:30::9; ` +
          `ip -6 route add fd00:10:244:${other}::/64 via fd00:30::${other}`,
      );
    }
    world.outsider.run(`ip route add ${loadBalancerIP} via 172.30.0.1; ip -6 addr add fd00:30::9/64 dev eth0 nodad`);
    for (const [index, pod] of world.pods.entries()) {
      const number = index < 2 ? 1 : 2;
      const host = (index % 2) + 2;
      const node = index < 2 ? world.node1 : world.node2;
      node.run(
        `ip -6 addr add fe80::1/64 dev p${host} nodad; ip -6 route add fd00:10:244:${number}::${host} dev p${host}`,
      );
      pod.run(
        `ip -6 addr add fd00:10:244:${number}::${host}/128 dev eth0 nodad; ip -6 route add default via fe80::1 dev eth0`,
      );
    }
  });

  after(() => {
    for (const proxy of proxies) proxy.kill();
    world.close();
  });

  for (const mode of ['nftables', 'iptables-nft', 'iptables-legacy'] as const) {
    describe(mode, () => {
      let near: ProxyHandle;
      let far: ProxyHandle;

      before(async () => {
        near = await start(world.node1, mode);
        far = await start(world.node2, mode);
        await both(state());
      });

      after(() => {
        near.kill();
        far.kill();
      });

      const both = async (next: ProxyState): Promise<void> => {
        for (const { problems } of await Promise.all([near.set(next), far.set(next)])) {
          expect(problems).to.deep.equal([]);
        }
      };

      /** Once more without a change, which is when a proxy tidies up. */
      const settled = async (next: ProxyState): Promise<void> => {
        await both(next);
        await both(next);
      };

      it('leads pods, nodes and the endpoint itself to every endpoint', async () => {
        const [a, b, c] = world.pods;
        await both(state(web({}, [b, c])));
        const seen = new Set<string>();
        for (let attempt = 0; attempt < 20; attempt++) seen.add(await say(a, clusterIP, 80));
        expect([...seen].toSorted()).to.deep.equal([`pod13 ${a.address}`, `pod22 ${a.address}`]);
        await both(state(web({}, [a])));
        expect(await say(world.node2, clusterIP, 80)).to.equal('pod12 172.30.0.2');
        expect(await say(a, clusterIP, 80)).to.equal('pod12 10.244.1.1');
      });

      it('serves IPv6 beside IPv4', async () => {
        const [a, b, c] = world.pods;
        await both(state(web({ nodePort: 30080 }, [b, c])));
        const seen = new Set<string>();
        for (let attempt = 0; attempt < 20; attempt++) seen.add(await say(a, clusterIPv6, 80));
        expect([...seen].toSorted()).to.deep.equal(['pod13 fd00:10:244:1::2', 'pod22 fd00:10:244:1::2']);
        expect(await say(world.outsider, 'fd00:30::2', 30080)).to.match(/^pod(13|22) fd00:/);
        // By UDP: a TCP client that is refused by ICMP while it still connects may try again for a second.
        await both(state(web({ protocol: 'UDP' }, [])));
        const refused = await a.request({ do: 'connect', protocol: 'udp', host: clusterIPv6, port: 80 });
        expect(refused.text).to.equal('ECONNREFUSED');
        // Neighbour discovery must survive the refusals.
        expect(await say(a, 'fd00:10:244:2::2', 8080)).to.equal('pod22 fd00:10:244:1::2');
      });

      it('serves node ports everywhere, and with externalTrafficPolicy Local keeps sources and silence', async () => {
        const [a] = world.pods;
        await both(state(web({ nodePort: 30080 }, [a])));
        expect(await say(world.outsider, '172.30.0.2', 30080)).to.equal('pod12 172.30.0.2');
        expect(await say(world.pods[3], '172.30.0.1', 30080)).to.contain('pod12');
        await both(state(web({ nodePort: 30080, externalTrafficPolicy: 'Local' }, [a])));
        expect(await say(world.outsider, '172.30.0.1', 30080)).to.equal('pod12 172.30.0.9');
        expect(await say(world.outsider, '172.30.0.2', 30080)).to.equal('timeout');
        expect(await say(world.pods[2], '172.30.0.2', 30080)).to.contain('pod12');
      });

      it('refuses without endpoints', async () => {
        await both(state(web({ nodePort: 30080 }, [])));
        expect(await say(world.pods[0], clusterIP, 80)).to.equal('ECONNREFUSED');
        expect(await say(world.outsider, '172.30.0.1', 30080)).to.equal('ECONNREFUSED');
      });

      it('admits clients of a load balancer address by source range', async () => {
        const [a] = world.pods;
        const balanced = (range: string) => web({ type: 'LoadBalancer', loadBalancerSourceRanges: [range] }, [a]);
        await both(state(balanced('172.30.0.0/24')));
        expect(await say(world.outsider, loadBalancerIP, 80)).to.contain('pod12');
        await both(state(balanced('192.0.2.0/24')));
        expect(await say(world.outsider, loadBalancerIP, 80)).to.equal('timeout');
      });

      it('keeps clients with one endpoint under ClientIP affinity until its time is over', async () => {
        const [a, b, c] = world.pods;
        const sticky: Facts = {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 1 } },
        };
        await both(state(web(sticky, [b, c])));
        const first = await say(a, clusterIP, 80);
        for (let attempt = 0; attempt < 8; attempt++) expect(await say(a, clusterIP, 80)).to.equal(first);
        const seen = new Set<string>();
        for (let round = 0; round < 6 && seen.size < 2; round++) {
          await new Promise((resolve) => setTimeout(resolve, 1300));
          seen.add(await say(a, clusterIP, 80));
          seen.add(first);
        }
        expect(seen.size, 'endpoints of a client after its time').to.equal(2);
      });

      it('leads UDP clients away from an endpoint that left, and to the first that comes', async () => {
        const [a, b, c] = world.pods;
        const datagrams = (...pods: Peer[]) => state(web({ protocol: 'UDP' }, pods));
        await both(datagrams(b));
        expect((await a.request({ do: 'open', protocol: 'udp', host: clusterIP, port: 80 })).text).to.contain('pod13');
        await both(datagrams(c));
        expect((await a.request({ do: 'send' })).text).to.contain('pod22');
        await both(datagrams());
        expect((await a.request({ do: 'send' })).text).not.to.contain('pod');
        await both(datagrams(b));
        await a.request({ do: 'send' });
        expect((await a.request({ do: 'send' })).text).to.contain('pod13');
      });

      it('leads UDP clients to another port of the same endpoint, whatever address they use', async () => {
        const [a, b, c, d] = world.pods;
        const datagrams = (targetPort: number) =>
          state(
            web({ protocol: 'UDP', type: 'LoadBalancer', nodePort: 30080, externalIPs: [externalIP], targetPort }, [b]),
          );
        const clients = [
          [a, clusterIP, 80],
          [c, externalIP, 80],
          [d, loadBalancerIP, 80],
          [world.outsider, '172.30.0.1', 30080],
        ] as const;
        // Nobody serves this port.
        await both(datagrams(8079));
        for (const [client, host, port] of clients) {
          expect((await client.request({ do: 'open', protocol: 'udp', host, port })).text).not.to.contain('pod');
        }
        await both(datagrams(8080));
        for (const [client, host] of clients) {
          // An error of the packet before may still be reported once.
          await client.request({ do: 'send' });
          expect((await client.request({ do: 'send' })).text, host).to.contain('pod13');
        }
      });

      it('leaves its rules when killed, and catches up when it is back', async () => {
        const [a, b, c] = world.pods;
        await both(state(web({}, [b]), web({ port: 81, name: 'other' }, [b])));
        near.kill();
        expect(await say(a, clusterIP, 80)).to.contain('pod13');
        near = await start(world.node1, mode);
        await both(state(web({}, [c])));
        expect(await say(a, clusterIP, 80)).to.contain('pod22');
        expect(await say(a, clusterIP, 81)).not.to.contain('pod');
        const rules = near.rules();
        expect(rules).not.to.contain('default/other');
      });

      it('holds for endpoints that flap 100 times a second: nothing to the dead, nothing left behind', async () => {
        const [a, b, c] = world.pods;
        await settled(state(web({}, [b])));
        const before = near.rules();
        const alive = new Map([b, c].map((peer) => [peer.name, { until: 0 }]));
        const dead: string[] = [];
        const round = { running: true };
        const client = (async () => {
          while (round.running) {
            const sentAt = performance.now();
            const answer = await say(a, clusterIP, 80);
            const server = alive.get(answer.split(' ')[0] ?? '');
            if (server === undefined) dead.push(`no answer: ${answer}`);
            else if (sentAt > server.until + 1000) dead.push(answer);
          }
        })();
        const sizes: number[] = [];
        const end = performance.now() + (mode === 'nftables' ? 10_000 : 3_000);
        for (let flap = 0; performance.now() < end; flap++) {
          const now = [[b], [b, c], [c], [c, b]][flap % 4] ?? [];
          const startedAt = performance.now();
          for (const [name, life] of alive) {
            life.until = now.some((peer) => peer.name === name) ? Infinity : Math.min(life.until, startedAt);
          }
          const reply = await near.set(state(web({}, now)));
          expect(reply.problems).to.deep.equal([]);
          sizes.push(reply.rssBytes);
          await new Promise((resolve) => setTimeout(resolve, Math.max(0, 10 - (performance.now() - startedAt))));
        }
        round.running = false;
        await client;
        expect(dead).to.deep.equal([]);
        await settled(state(web({}, [b])));
        expect(near.rules()).to.equal(before);
        const half = sizes[Math.floor(sizes.length / 2)] ?? 0;
        expect((sizes.at(-1) ?? 0) - half, 'growth in the second half, bytes').to.be.lessThan(30_000_000);
      });
    });
  }

  it('takes over from the other mode without a gap and removes its rules', async () => {
    const [a, b] = world.pods;
    let former: ProxyHandle | undefined;
    for (const mode of ['iptables-legacy', 'nftables', 'iptables-nft', 'nftables'] as const) {
      const proxy = await start(world.node1, mode);
      former?.kill();
      await proxy.set(state(web({}, [b])));
      expect(await say(a, clusterIP, 80), mode).to.contain('pod13');
      const kinds = { nftables: 'table ip kube-proxy', 'iptables-nft': 'KUBE-SERVICES', 'iptables-legacy': '' };
      const nft = world.node1.run('nft list ruleset 2>/dev/null');
      expect(nft.includes('table ip kube-proxy'), mode).to.equal(mode === 'nftables');
      expect(nft.includes('KUBE-SVC'), mode).to.equal(mode === 'iptables-nft');
      const legacy = world.node1.run('iptables-legacy-save 2>/dev/null; ip6tables-legacy-save 2>/dev/null');
      expect(legacy.includes('KUBE-'), mode).to.equal(mode === 'iptables-legacy');
      if (kinds[mode] !== '') expect(nft).to.contain(kinds[mode]);
      former = proxy;
    }
    former?.kill();
  });

  async function start(node: Peer, mode: ProxyMode): Promise<ProxyHandle> {
    const proxy = await startProxy(node, mode);
    proxies.push(proxy);
    return proxy;
  }
});

async function say(from: Peer, host: string, port: number): Promise<string> {
  return (await from.request({ do: 'connect', protocol: 'tcp', host, port })).text;
}

interface Facts extends Partial<ServiceSpec> {
  readonly name?: string;
  readonly port?: number;
  readonly nodePort?: number;
  /** Default 8080, which the endpoints serve. */
  readonly targetPort?: number;
  readonly protocol?: 'TCP' | 'UDP';
}

interface Web {
  readonly service: Service;
  readonly slices: readonly EndpointSlice[];
}

function web(facts: Facts, endpoints: readonly Peer[]): Web {
  const { name = 'web', port = 80, targetPort = 8080, nodePort, protocol = 'TCP', ...spec } = facts;
  const service: Service = {
    metadata: { namespace: 'default', name },
    spec: {
      clusterIP,
      clusterIPs: [clusterIP, clusterIPv6],
      ports: [{ port, protocol, ...(nodePort !== undefined && { nodePort }) }],
      ...spec,
    },
    status: { loadBalancer: { ingress: [{ ip: loadBalancerIP }] } },
  };
  const slices = (['IPv4', 'IPv6'] as const).map((addressType): EndpointSlice => ({
    metadata: { namespace: 'default', name: `${name}-${addressType}` },
    addressType,
    ports: [{ name: '', port: targetPort, protocol }],
    endpoints: endpoints.map(({ address }) => ({
      addresses: [addressType === 'IPv4' ? address : address.replace(/^10\.244\.(\d)\.(\d)$/, 'fd00:10:244:$1::$2')],
      nodeName: address.startsWith('10.244.1.') ? 'node1' : 'node2',
      conditions: { ready: true },
    })),
  }));
  return { service, slices };
}

function state(...list: readonly Web[]): ProxyState {
  return {
    services: list.map(({ service }) => service),
    slices: Object.fromEntries(list.map(({ service, slices }) => [`default/${service.metadata.name}`, slices])),
  };
}

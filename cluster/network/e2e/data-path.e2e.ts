// SPDX-License-Identifier: Apache-2.0
// Services, policies and routes with real packets, as root, in namespaces of this test's own.
import { expect } from 'chai';

import { planServicePort } from '../../proxy/nftables/plan.ts';
import { assembleTable } from '../../proxy/nftables/rule-store.ts';
import { backend, servicePort } from '../../proxy/testing.ts';
import { masqueradeTable } from '../masquerade.ts';
import { compilePolicies } from '../policy/compile.ts';
import { makeWorld } from './netns-world.ts';
import type { NetworkPolicy } from '../../machinery/api-types.ts';
import type { ServicePort } from '../../proxy/service-model.ts';
import type { PolicyPod } from '../policy/policy-pods.ts';
import type { Peer, World } from './netns-world.ts';

const clusterCIDRs = ['10.244.0.0/16'];
const virtual = '10.96.0.5';

describe('data path', function () {
  this.timeout(30_000);
  let world: World;

  before(async () => {
    world = await makeWorld();
    for (const [node, own, other] of [
      [world.node1, '10.244.1.0/24', { destination: '10.244.2.0/24', via: '172.30.0.2' }],
      [world.node2, '10.244.2.0/24', { destination: '10.244.1.0/24', via: '172.30.0.1' }],
    ] as const) {
      const { text } = await node.request({ do: 'routes', routes: [{ destination: own, via: undefined }, other] });
      expect(text).to.equal(`add ${own}, add ${other.destination}`);
      node.apply(masqueradeTable({ podCIDRs: [own], clusterCIDRs, nodeAddresses: ['172.30.0.1', '172.30.0.2'] }));
    }
  });

  after(() => world.close());

  beforeEach(() => {
    services([]);
    policies([]);
  });

  const connect = (from: Peer, host: string, port: number, protocol: 'tcp' | 'udp' = 'tcp') =>
    from.request({ do: 'connect', protocol, host, port });
  const say = async (...args: Parameters<typeof connect>): Promise<string> => (await connect(...args)).text;

  describe('routes', () => {
    it('carry pods to pods and nodes without translation, and outside with it', async () => {
      const [a, b, c] = world.pods;
      expect(await say(a, b.address, 8080)).to.equal(`pod13 ${a.address}`);
      expect(await say(a, c.address, 8080)).to.equal(`pod22 ${a.address}`);
      expect(await say(a, '172.30.0.2', 8080)).to.equal(`node2 ${a.address}`);
      expect(await say(a, '172.30.0.9', 8080)).to.equal('outsider 172.30.0.1');
    });

    it('refuse addresses that no pod has at once', async () => {
      const { text, ms } = await connect(world.pods[0], '10.244.2.200', 8080);
      expect(text).to.equal('EHOSTUNREACH');
      expect(ms).to.be.lessThan(800);
    });

    it('change and go without touching those of others', async () => {
      const { node1 } = world;
      node1.run('ip route add 10.99.0.0/24 via 172.30.0.2');
      const own = { destination: '10.244.1.0/24', via: undefined };
      const other = { destination: '10.244.2.0/24', via: '172.30.0.2' };
      const set = async (...routes: { destination: string; via: string | undefined }[]) =>
        (await node1.request({ do: 'routes', routes })).text;
      expect(await set(own, { ...other, via: '172.30.0.9' })).to.equal('replace 10.244.2.0/24');
      expect(await set(own)).to.equal('delete 10.244.2.0/24');
      expect(await set(own, other)).to.equal('add 10.244.2.0/24');
      expect(await set(own, other)).to.equal('');
      expect(await set(own, other, { destination: '10.99.0.0/24', via: '172.30.0.9' })).to.contain(
        'route to 10.99.0.0/24',
      );
      expect(node1.run('ip route show 10.99.0.0/24')).to.contain('via 172.30.0.2');
      node1.run('ip route del 10.99.0.0/24');
    });
  });

  describe('services', () => {
    it('reach every endpoint from pods with their own address', async () => {
      const [a, b, c] = world.pods;
      services([service({}, [b, c])]);
      const seen = new Set<string>();
      for (let attempt = 0; attempt < 20; attempt++) seen.add(await say(a, virtual, 80));
      expect([...seen].toSorted()).to.deep.equal([`pod13 ${a.address}`, `pod22 ${a.address}`]);
      expect(await say(a, virtual, 80, 'udp')).to.equal('ECONNREFUSED');
    });

    it('work by UDP, from the node, by hairpin and from outside', async () => {
      const [a] = world.pods;
      services([service({ protocol: 'udp' }, [a]), service({ protocol: 'tcp' }, [a])]);
      expect(await say(world.pods[2], virtual, 80, 'udp')).to.equal(`pod12 ${world.pods[2].address}`);
      expect(await say(world.node1, virtual, 80)).to.match(/^pod12 (172\.30\.0\.1|10\.244\.1\.1)$/);
      expect(await say(world.node2, virtual, 80)).to.equal('pod12 172.30.0.2');
      expect(await say(a, virtual, 80)).to.equal('pod12 10.244.1.1');
      world.outsider.run('ip route replace 10.96.0.0/16 via 172.30.0.2');
      expect(await say(world.outsider, virtual, 80)).to.equal('pod12 172.30.0.2');
    });

    it('answer on node ports of every node, also where no endpoint runs', async () => {
      const [a] = world.pods;
      services([service({ nodePort: 30080 }, [a])]);
      expect(await say(world.outsider, '172.30.0.2', 30080)).to.equal('pod12 172.30.0.2');
      expect(await say(world.outsider, '172.30.0.1', 30080)).to.match(/^pod12 10\.244\.1\.1$/);
      expect(await say(world.pods[3], '172.30.0.1', 30080)).to.contain('pod12');
      expect(await say(world.node1, '172.30.0.2', 30080)).to.contain('pod12');
    });

    it('keep the source and stay silent elsewhere under externalTrafficPolicy Local', async () => {
      const [a] = world.pods;
      services([service({ nodePort: 30080, externalLocal: true }, [a])]);
      expect(await say(world.outsider, '172.30.0.1', 30080)).to.equal('pod12 172.30.0.9');
      expect(await say(world.outsider, '172.30.0.2', 30080)).to.equal('timeout');
      expect(await say(world.pods[2], '172.30.0.2', 30080)).to.contain('pod12');
    });

    it('refuse at once without endpoints', async () => {
      services([service({ nodePort: 30080 }, []), service({ protocol: 'udp' }, [])]);
      for (const [from, host, port] of [
        [world.pods[0], virtual, 80],
        [world.node1, virtual, 80],
        [world.outsider, '172.30.0.1', 30080],
      ] as const) {
        const { text, ms } = await connect(from, host, port);
        expect(`${from.name} ${text}`).to.equal(`${from.name} ECONNREFUSED`);
        expect(ms, from.name).to.be.lessThan(800);
      }
      expect(await say(world.pods[0], virtual, 80, 'udp')).to.equal('ECONNREFUSED');
    });

    it('stay with one endpoint under ClientIP affinity, and let connections live through changes', async () => {
      const [a, b, c] = world.pods;
      services([service({ affinitySeconds: 60 }, [b, c])]);
      const first = await say(a, virtual, 80);
      for (let attempt = 0; attempt < 8; attempt++) expect(await say(a, virtual, 80)).to.equal(first);
      await a.request({ do: 'open', protocol: 'tcp', host: virtual, port: 80 });
      services([service({ affinitySeconds: 60 }, [b, c, world.pods[3]]), service({ port: 81 }, [b])]);
      expect((await a.request({ do: 'send' })).text).to.equal(first);
      expect(await say(a, virtual, 80)).to.equal(first);
    });
  });

  describe('policies', () => {
    it('deny and allow on the same node and across nodes, judged behind Services', async () => {
      const [a, b, c] = world.pods;
      services([service({}, [a])]);
      policies([deny('x', 'Ingress'), allowFrom('x', 'pod13')]);
      expect(await say(b, a.address, 8080)).to.contain('pod12');
      expect(await say(b, virtual, 80)).to.contain('pod12');
      expect(await say(c, a.address, 8080)).to.equal('timeout');
      expect(await say(c, virtual, 80)).to.equal('timeout');
      expect(await say(c, a.address, 8080, 'udp')).to.equal('timeout');
      expect(await say(a, c.address, 8080)).to.contain('pod22');
      expect(await say(world.node1, a.address, 8080)).to.contain('pod12');
      expect(await say(world.node2, a.address, 8080)).to.equal('timeout');
      expect(await say(a, virtual, 80)).to.contain('pod12');
    });

    it('end connections that they no longer allow, and leave those that they do', async () => {
      const [a, b, c] = world.pods;
      await b.request({ do: 'open', protocol: 'tcp', host: a.address, port: 8080 });
      await c.request({ do: 'open', protocol: 'tcp', host: a.address, port: 8080 });
      policies([deny('x', 'Ingress'), allowFrom('x', 'pod13')]);
      expect((await b.request({ do: 'send' })).text).to.contain('pod12');
      expect((await c.request({ do: 'send' })).text).to.equal('timeout');
      expect(await say(c, a.address, 8080)).to.equal('timeout');
    });

    it('deny what goes out, but not to the own node', async () => {
      const [a, , c] = world.pods;
      policies([deny('x', 'Egress')]);
      expect(await say(a, c.address, 8080)).to.equal('timeout');
      expect(await say(a, '172.30.0.9', 8080)).to.equal('timeout');
      expect(await say(a, '172.30.0.1', 8080)).to.contain('node1');
      expect(await say(c, a.address, 8080)).to.contain('pod12');
    });

    it('hold back a pod that the agent does not know yet', async () => {
      const [a, b, c] = world.pods;
      policies([], [b, c]);
      expect(await say(a, c.address, 8080)).to.equal('timeout');
      expect(await say(c, a.address, 8080)).to.equal('timeout');
      expect(await say(b, c.address, 8080)).to.contain('pod22');
      policies([]);
      expect(await say(a, c.address, 8080)).to.contain('pod22');
    });

    it('name the policy in the counter of the rule that dropped', async () => {
      const [a, , c] = world.pods;
      policies([deny('x', 'Ingress')]);
      await say(c, a.address, 8080);
      const rules = world.node1.run('nft list table inet plumb_policy');
      expect(rules).to.match(
        /counter name "np.x.deny-Ingress.ingress.drop" counter packets [1-9]\d* bytes \d+ drop comment .ingress of x\/pod12 not allowed by x\/deny-Ingress/,
      );
    });
  });

  /** Brings both nodes' proxies to these Services. */
  function services(list: readonly { port: ServicePort; endpoints: readonly Peer[] }[]): void {
    for (const node of [world.node1, world.node2]) {
      const options = {
        node: { name: node.name, zone: undefined },
        family: 'ip',
        clusterCIDRs,
        nodeAddresses: [],
        nodePortAddresses: undefined,
      } as const;
      const rules = list.map(({ port, endpoints }) =>
        planServicePort(
          port,
          endpoints.map((peer) => backend(peer.address, { local: nodeOf(peer) === node.name })),
          options,
        ),
      );
      node.apply(assembleTable(rules, options));
    }
  }

  /** Brings both nodes' policies to these; `known` are the pods that the agents know of. */
  function policies(list: readonly NetworkPolicy[], known: readonly Peer[] = world.pods): void {
    const pods = known.map((peer): PolicyPod => ({
      namespace: nodeOf(peer) === 'node1' ? 'x' : 'y',
      name: peer.name,
      uid: peer.name,
      labels: { pod: peer.name },
      nodeName: nodeOf(peer),
      ips: [peer.address],
      ports: [],
    }));
    for (const [index, node] of [world.node1, world.node2].entries()) {
      node.apply(
        compilePolicies({
          policies: list,
          clusterPolicies: [],
          nodes: [],
          pods,
          namespaces: new Map([
            ['x', {}],
            ['y', {}],
          ]),
          nodeName: node.name,
          podCIDRs: [`10.244.${index + 1}.0/24`],
        }),
      );
    }
  }
});

function nodeOf({ address }: Peer): string {
  return address.startsWith('10.244.1.') ? 'node1' : 'node2';
}

function service(
  facts: Partial<ServicePort>,
  endpoints: readonly Peer[],
): { port: ServicePort; endpoints: readonly Peer[] } {
  const portName = `${facts.protocol ?? 'tcp'}-${facts.port ?? 80}`;
  return { port: servicePort({ portName, clusterIP: virtual, ...facts }), endpoints };
}

function deny(namespace: string, type: 'Ingress' | 'Egress'): NetworkPolicy {
  return { metadata: { namespace, name: `deny-${type}` }, spec: { podSelector: {}, policyTypes: [type] } };
}

function allowFrom(namespace: string, name: string): NetworkPolicy {
  return {
    metadata: { namespace, name: `allow-${name}` },
    spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { pod: name } } }] }] },
  };
}

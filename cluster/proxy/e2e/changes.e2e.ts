// SPDX-License-Identifier: Apache-2.0
// Packets that are under way in the very moment in which nftables rules change, which thousands of changes a second
// bring about. A packet that finds no endpoint is refused as one to an unused port of the Service, and counted there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { expect } from 'chai';

import { makeWorld } from '../../network/e2e/netns-world.ts';
import { planTransaction } from '../../network/nft/transaction.ts';
import { planServicePort } from '../nftables/plan.ts';
import { RuleStore } from '../nftables/rule-store.ts';
import { backend, ruleOptions, servicePort } from '../testing.ts';
import type { Peer, World } from '../../network/e2e/netns-world.ts';
import type { Table } from '../../network/nft/ruleset.ts';
import type { ServicePort } from '../service-model.ts';

const clusterIP = '10.96.0.5';
const lastsMs = 4000;

describe('packets under way while nftables rules change', function () {
  this.timeout(60_000);
  let world: World;

  before(async () => {
    world = await makeWorld();
    world.node1.run('ip route add 10.244.2.0/24 via 172.30.0.2');
    world.node2.run('ip route add 10.244.1.0/24 via 172.30.0.1');
  });

  after(() => world.close());

  const kinds: Readonly<Record<string, Partial<ServicePort>>> = {
    'an ordinary Service': {},
    'a Service with client affinity': { affinitySeconds: 1 },
  };
  for (const [kind, facts] of Object.entries(kinds)) {
    it(`all find an endpoint of ${kind} that scales up and down`, async () => {
      const [, b, c] = world.pods;
      const port = servicePort({ protocol: 'udp', clusterIP, ...facts });
      const { table, changes } = cycleOf(port, [[b], [b, c], [c], [c, b]]);
      world.node1.apply(table);
      const before = refusals(world.node1);
      const changed = changeFor(world.node1, changes);
      // From the node: what a process sends may be interrupted between two look-ups for longer than what is received.
      const scattered = world.node1.request({ do: 'scatter', host: clusterIP, port: 80, ms: lastsMs });
      const sent = Number((await scattered).text);
      expect(await changed, 'changes').to.be.greaterThan(200);
      expect(sent, 'packets').to.be.greaterThan(2000);
      expect(refusals(world.node1) - before, `of ${sent} packets those without an endpoint`).to.equal(0);
    });
  }
});

/** How many packets were refused as those to an unused port of a Service. */
function refusals(node: Peer): number {
  const rules = node.run('nft list chain ip kube-proxy cluster-ips-check');
  return [...rules.matchAll(/packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** The table with the first of these sets of endpoints, and the transactions that lead through the others and back. */
function cycleOf(port: ServicePort, sets: readonly Peer[][]): { readonly table: Table; readonly changes: string[] } {
  const store = new RuleStore();
  const tables = [...sets, ...sets, ...sets.slice(0, 1)].map((endpoints) => {
    const backends = endpoints.map(({ address }) => backend(address));
    store.replace('default/web', [planServicePort(port, backends, ruleOptions)]);
    return structuredClone(store.take(ruleOptions).table);
  });
  // In the first round chains appear that stay.
  const [table, ...others] = tables.slice(sets.length);
  const changes = others.flatMap((after, index) => {
    const { preparation, commands, cleanup } = planTransaction(tables[sets.length + index], after);
    return [preparation, commands, cleanup];
  });
  if (table === undefined) throw new Error('there is no set of endpoints');
  return { table, changes: changes.filter((change) => change !== '') };
}

/** Carries the changes out again and again in one nft; their number. */
async function changeFor(node: Peer, changes: readonly string[]): Promise<number> {
  const nft = spawn('nsenter', ['-t', String(node.pid), '-n', 'nft', '-i'], { stdio: ['pipe', 'ignore', 'pipe'] });
  const exited = once(nft, 'exit');
  let complaint = '';
  nft.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const round = changes.map((change) => `${change.trim().replaceAll('\n', '; ')}\n`).join('');
  const end = performance.now() + lastsMs;
  let count = 0;
  for (; performance.now() < end && complaint === ''; count += changes.length) {
    // As fast as nft takes them.
    if (!nft.stdin.write(round)) await Promise.race([once(nft.stdin, 'drain'), exited]);
  }
  nft.stdin.end();
  await exited;
  expect(complaint).to.equal('');
  return count;
}

// SPDX-License-Identifier: Apache-2.0
/** The comparison against clusters that are only told of: right ones, late ones, and ones that get something wrong. */
import { expect } from 'chai';
import type { ProbePod } from '../../../probes/agent/prober.ts';
import type { CaseContext } from '../../case.ts';
import { judge } from '../../oracles/reachability/oracle.ts';
import type { Model, ModelPod } from '../../oracles/reachability/model.ts';
import { allow, everyPod, labelled, policy, put } from '../generator/parts.ts';
import { applyActions, tablePortNames, type TableFacts } from '../generator/policy-case.ts';
import { compareTable, expectTable } from './compare.ts';
import type { LiveTable } from './live-table.ts';
import { closing, opening, percentile, type FlowHistory } from './streams.ts';
import { hostNameOf } from './world.ts';

const spaces = ['x', 'y', 'z'];
const names = ['a', 'b', 'c'];

interface Asked {
  readonly source: ModelPod;
  readonly destination: ModelPod;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  /** Milliseconds since the table was made. */
  readonly now: number;
}

/** What a told cluster does with a request; `lost-answer`: it arrives, and its answer does not come back. */
type Fate = 'allowed' | 'dropped' | 'lost-answer';

const models: ModelPod[] = spaces.flatMap((ns, row) =>
  names.map((pod, column) => ({
    namespace: `run-${ns}`,
    name: pod,
    labels: { pod, ns },
    addresses: [`10.244.${column % 2}.${10 * row + column + 1}`],
    node: `node-${column % 2}`,
    namedPorts: tablePortNames(pod),
  })),
);
const facts: TableFacts = { namespaceName: (key) => `run-${key}`, address: () => '10.244.0.1' };
const atRest: Model = {
  pods: models,
  namespaces: new Map(spaces.map((ns) => [`run-${ns}`, { ns }])),
  policies: [],
};

function tableOf(model: Model, fateOf: (asked: Asked) => Fate): LiveTable & { readonly flakes: string[] } {
  const began = performance.now();
  const arrived = new Set<string>();
  let serial = 0;
  const pods = new Map(models.map((pod) => [`${pod.labels['ns']}/${pod.name}`, probeOf(pod)] as const));
  function probeOf(pod: ModelPod): ProbePod {
    const probe: Pick<
      ProbePod,
      'name' | 'namespace' | 'node' | 'description' | 'ips' | 'ip' | 'labels' | 'attempts' | 'receipts'
    > = {
      name: pod.name,
      namespace: pod.namespace,
      node: pod.node,
      description: `pod ${pod.namespace}/${pod.name}`,
      ips: pod.addresses,
      ip: pod.addresses[0] ?? '',
      labels: pod.labels,
      attempts: async (requests) =>
        requests.map(({ host, protocol, port }) => {
          const nonce = `n${serial++}`;
          const destination = models.find(({ addresses }) => addresses.includes(host));
          if (destination === undefined) throw new Error(`nobody has ${host}`);
          const now = performance.now() - began;
          const fate = fateOf({ source: pod, destination, protocol: protocol === 'udp' ? 'udp' : 'tcp', port, now });
          if (fate !== 'dropped') arrived.add(nonce);
          if (fate !== 'allowed') return { nonce, outcome: 'dropped', latencyMs: 200 };
          const hostname = hostNameOf(destination.labels['ns'] ?? '', destination.name);
          const server = { hostname, clientAddress: '', clientPort: 1 };
          return { nonce, outcome: 'allowed', latencyMs: 1, server };
        }),
      receipts: async (nonces) =>
        nonces
          .filter((nonce) => arrived.has(nonce))
          .map((nonce) => ({ nonce, protocol: 'tcp', port: 1, clientAddress: '', at: 0 })),
    };
    return probe as ProbePod;
  }
  const flakes: string[] = [];
  const t = {
    signal: new AbortController().signal,
    flake: (what: string) => void flakes.push(what),
    log: () => undefined,
    attach: async () => undefined,
  } as unknown as CaseContext;
  const surroundings = { hosts: new Map(), external: undefined, dnsPods: [], dnsServiceIps: [] };
  const world = { services: new Map(), surroundings, pods, atRest } as unknown as LiveTable['world'];
  return { t, world, families: [4], pods, model, expected: new Map(), ownNamespaces: new Map(), flakes };
}

const right =
  (model: Model) =>
  (asked: Asked): Fate =>
    judge(model, asked).allowed ? 'allowed' : 'dropped';
const comparison = { step: 'told', selection: { others: { chosenBy: 'a test' } } } as const;
const short = { ...comparison, deadlineMs: 100 };

const closed = applyActions(
  atRest,
  put(
    policy('x/some', everyPod, allow('ingress', { peers: [{ podSelector: labelled('pod', 'b') }] })),
    policy('y/none', labelled('pod', 'a'), allow('egress')),
  ),
  facts,
);

async function wrongUnder(fateOf: (asked: Asked) => Fate): Promise<string[]> {
  const { wrong } = await compareTable(tableOf(closed, fateOf), short);
  return wrong.map(({ cell }) => cell.key);
}

describe('comparing a live table', () => {
  it('finds a right cluster right, and knows which cells turned', async () => {
    const table = tableOf(closed, right(closed));
    const outcome = await expectTable(table, comparison);
    expect(outcome.cells).to.equal(9 * 9 * 4);
    expect(outcome.windows, 'until they have turned, and all').to.equal(2);
    expect((await compareTable(table, comparison)).windows, 'all, and what is closed').to.equal(2);
    expect(outcome.turnedMs).to.be.a('number');
    table.model = atRest;
    expect(
      (await compareTable(table, short)).wrong.length,
      'policies that are gone in the model only',
    ).to.be.greaterThan(0);
  });

  it('waits for a late cluster, and says how late it was', async () => {
    const late = 300;
    const outcome = await expectTable(
      tableOf(closed, (asked) => (asked.now < late ? 'allowed' : right(closed)(asked))),
      comparison,
    );
    expect(outcome.turnedMs).to.be.at.least(late - 100);
    const never = tableOf(closed, () => 'allowed');
    expect(await failureOf(() => expectTable(never, short))).to.match(/cells are not as the policies say/);
  });

  it('finds what is wrong, and nothing else', async () => {
    const udp = await wrongUnder((asked) => (asked.protocol === 'udp' ? 'allowed' : right(closed)(asked)));
    expect(udp.length).to.be.greaterThan(0);
    expect(udp.every((key) => key.includes(' udp/'))).to.equal(true);

    const onlyIngress: Model = {
      ...closed,
      policies: closed.policies.filter(({ spec }) => spec?.policyTypes?.[0] === 'Ingress'),
    };
    const egress = await wrongUnder(right(onlyIngress));
    expect(egress.length).to.be.greaterThan(0);
    expect(egress.every((key) => key.startsWith('y/a > pod '))).to.equal(true);

    const oneCell = await wrongUnder((asked) =>
      asked.source.name === 'c' &&
      asked.destination.addresses[0] === '10.244.0.1' &&
      asked.port === 8081 &&
      asked.source.namespace === 'run-z' &&
      asked.protocol === 'tcp'
        ? 'lost-answer'
        : right(closed)(asked),
    );
    expect(oneCell, 'a request that arrives is let through, whether or not it is answered').to.deep.equal([
      'z/c > pod x/a tcp/8081 IPv4',
    ]);
  });

  it('counts a cell that wavers as a flake', async () => {
    let count = 0;
    const table = tableOf(closed, (asked) => {
      const watched = asked.source.namespace === 'run-z' && asked.source.name === 'a' && asked.destination.name === 'a';
      // Turning and all, then for what has not turned all and once more: the last look is the odd one.
      const isOdd =
        watched &&
        asked.destination.namespace === 'run-x' &&
        asked.port === 8080 &&
        asked.protocol === 'tcp' &&
        ++count === 4;
      return isOdd ? 'allowed' : right(closed)(asked);
    });
    await expectTable(table, comparison);
    expect(table.flakes).to.have.length(0);
    await expectTable(table, comparison);
    expect(table.flakes).to.have.length(1);
    expect(table.flakes[0]).to.contain('z/a > pod x/a tcp/8080');
  });

  it('says nothing where a pod does not reach itself', async () => {
    const table = tableOf(closed, (asked) => (asked.source === asked.destination ? 'dropped' : right(closed)(asked)));
    expect(await failureOf(() => expectTable(table, short))).to.contain('does not reach itself');
  });
});

describe('histories of flows', () => {
  const history = (arrived: string): FlowHistory => ({
    flow: {} as FlowHistory['flow'],
    probes: [...arrived].map((sign, index) => ({ sentAt: 10 * index, arrived: sign === '.', answered: sign === '.' })),
  });
  it('closes with the first probe after the last that arrived', () => {
    expect(closing(history('......XXXX'), 30)).to.deep.equal({ afterMs: 30, strays: 3 });
    expect(closing(history('...XXXXXXX'), 30)).to.deep.equal({ afterMs: 0, strays: 0 });
    expect(closing(history('....XX.XXX'), 30)).to.deep.equal({ afterMs: 40, strays: 2 });
    expect(closing(history('..........'), 30).afterMs).to.equal(undefined);
  });
  it('opens with the first probe after which all are answered', () => {
    expect(opening(history('XXXXX.....'), 30, 100)).to.deep.equal({ afterMs: 20, strays: 2 });
    expect(opening(history('XXXXX...XX'), 30, 80)).to.deep.equal({ afterMs: 20, strays: 2 });
    expect(opening(history('XXXXXXXXXX'), 30, 100).afterMs).to.equal(undefined);
  });
  it('takes percentiles by nearest rank', () => {
    expect([0.5, 0.99, 1].map((share) => percentile([3, 1, 2], share))).to.deep.equal([2, 3, 3]);
  });
});

async function failureOf(body: () => Promise<unknown>): Promise<string> {
  try {
    await body();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return '';
}

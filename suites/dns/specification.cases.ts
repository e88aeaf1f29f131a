// SPDX-License-Identifier: Apache-2.0
/**
 * The rest of the Kubernetes DNS specification: headless Services in every state, reverse names, aliases of aliases, denials and how long
 * they last, large answers, both families. Endpoints are written by the cases themselves where no pod is needed.
 */
import { expect } from 'chai';
import type { V1Endpoint, V1EndpointSlice, V1Service } from '@kubernetes/client-node';
import type { DnsResult } from '../../probes/agent/protocol.ts';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { addressOf, expose, startBackends } from '../services/fixture.ts';
import { answered, dataOf, same } from './answers.ts';

const area = 'dns';
const needs = ['cluster-dns'] as const;

export const schemaVersion = defineCase(
  {
    id: 'dns.zone.version',
    area,
    title: 'The zone says which version of the specification it follows',
    description: 'dns-version.ZONE MUST have a TXT record with a version of the schema, 1.x.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const client = await t.probes.pod();
    const answer = await client.dns({ name: `dns-version.${t.cluster.clusterDomain}`, type: 'TXT' });
    expect(answer).to.include({ outcome: 'answered', rcode: 'NOERROR' });
    expect(dataOf(answer).join(' ')).to.match(/^1\.\d+\.\d+$/);
  },
);

export const letterCase = defineCase(
  {
    id: 'dns.letter-case',
    area,
    title: 'Names are found in any letter case, and the question comes back as it was asked',
    description:
      'A name in mixed case MUST have the same answer, and the answer MUST repeat the question letter by letter: resolvers that mix the case at random take other answers for forged.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const client = await t.probes.pod();
    const plain = `kubernetes.default.svc.${t.cluster.clusterDomain}`;
    const wanted = dataOf(await client.dns({ name: plain, type: 'A' }));
    for (const name of [
      plain.replaceAll(/[a-m]/g, (letter) => letter.toUpperCase()),
      plain.replaceAll(/[n-z]/g, (letter) => letter.toUpperCase()),
    ]) {
      const answer = await client.dns({ name, type: 'A' });
      expect(answer).to.include({ outcome: 'answered', rcode: 'NOERROR' });
      expect(dataOf(answer).toSorted()).to.deep.equal(wanted.toSorted());
      expect(answer.question).to.equal(name);
    }
  },
);

export const endpointNames = defineCase(
  {
    id: 'dns.headless.endpoint-names',
    area,
    title: 'Endpoints of a headless Service have names, ports and reverse names by their hostnames',
    description:
      'Each ready endpoint with a hostname MUST have an address record (several, where several endpoints share the hostname), one SRV record for each named port, and a PTR record; endpoints that are not ready MUST have none.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const block = addressBlock(namespace);
    await manualSet(t, namespace, [
      { addresses: [`${block}.1`], hostname: 'one', conditions: { ready: true } },
      { addresses: [`${block}.2`], hostname: 'two', conditions: { ready: true } },
      { addresses: [`${block}.3`], hostname: 'two', conditions: { ready: true } },
      { addresses: [`${block}.4`], hostname: 'four', conditions: { ready: false } },
    ]);
    const base = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    await t.step('addresses', async () => {
      const all = [1, 2, 3].map((last) => `${block}.${last}`);
      await answered(t, client, { name: base, type: 'A' }, (result) => same(dataOf(result).toSorted(), all));
      const addresses = async (name: string): Promise<string[]> =>
        dataOf(await client.dns({ name: `${name}.${base}`, type: 'A' })).toSorted();
      expect(await addresses('one')).to.deep.equal([`${block}.1`]);
      expect(await addresses('two')).to.deep.equal([`${block}.2`, `${block}.3`]);
      expect(await addresses('four'), 'the endpoint that is not ready').to.deep.equal([]);
    });
    await t.step('ports', async () => {
      for (const [label, port] of [
        ['_web._tcp', 8080],
        ['_metrics._tcp', 9090],
      ] as const) {
        const srv = dataOf(await client.dns({ name: `${label}.${base}`, type: 'SRV' }), 'SRV');
        const targets = srv.map((data) => data.split(' ').slice(2).join(' ')).toSorted();
        expect([...new Set(targets)], label).to.deep.equal([`${port} one.${base}`, `${port} two.${base}`]);
      }
      const unknown = await client.dns({ name: `_nothing._tcp.${base}`, type: 'SRV' });
      expect(dataOf(unknown), 'a port that the Service does not have').to.deep.equal([]);
    });
    await t.step('reverse names', async () => {
      const back = async (last: number): Promise<DnsResult> =>
        client.dns({ name: `${`${block}.${last}`.split('.').toReversed().join('.')}.in-addr.arpa`, type: 'PTR' });
      expect(dataOf(await back(1))).to.deep.equal([`one.${base}`]);
      expect(dataOf(await back(3))).to.deep.equal([`two.${base}`]);
      expect(dataOf(await back(4)), 'the endpoint that is not ready').to.deep.equal([]);
    });
  },
);

export const notReady = defineCase(
  {
    id: 'dns.headless.not-ready',
    area,
    title: 'A pod that is not Ready has no name, unless the Service publishes it all the same',
    description:
      'A headless Service whose only pod is not Ready MUST NOT resolve; one that selects the same pod with publishNotReadyAddresses MUST.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    await expose(t, namespace, { clusterIP: 'None' });
    await expose(t, namespace, { clusterIP: 'None', publishNotReadyAddresses: true }, 'early');
    await t.apply(podThatNeverIsReady(namespace, t.images.probe));
    const ip = await t.waitFor('the pod to run', async () => {
      const { status } = await t.kube.core.readNamespacedPod({ name: 'unready', namespace });
      return status?.phase === 'Running' && status.podIP !== undefined
        ? done(status.podIP)
        : pending(`phase ${status?.phase}`);
    });
    const name = (service: string): string => `${service}.${namespace}.svc.${t.cluster.clusterDomain}`;
    const family = ip.includes(':') ? 'AAAA' : 'A';
    await answered(t, client, { name: name('early'), type: family, withinMs: 45_000 }, (result) =>
      same(dataOf(result), [ip]),
    );
    const answer = await client.dns({ name: name('web'), type: family });
    expect(answer.outcome, answer.error).to.equal('answered');
    expect(dataOf(answer)).to.deep.equal([]);
  },
);

export const aliasChain = defineCase(
  {
    id: 'dns.external-name.chain',
    area,
    title: 'An alias of an alias leads to the address',
    description:
      'An ExternalName Service that names another one MUST resolve to the address at the end, with every alias in the answer.',
    requirements: ['001 ch10', '003 Services'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const end = await expose(t, namespace, {}, 'end');
    const name = (service: string): string => `${service}.${namespace}.svc.${t.cluster.clusterDomain}`;
    for (const [alias, target] of [
      ['second', 'end'],
      ['first', 'second'],
    ] as const) {
      await t.kube.core.createNamespacedService({
        namespace,
        body: { metadata: { name: alias }, spec: { type: 'ExternalName', externalName: name(target) } },
      });
    }
    const type = addressOf(end).includes(':') ? 'AAAA' : 'A';
    const answer = await answered(
      t,
      client,
      { name: name('first'), type },
      (result) => same(dataOf(result, type), [addressOf(end)]) && dataOf(result, 'CNAME').length === 2,
    );
    expect(dataOf(answer, 'CNAME').toSorted()).to.deep.equal([name('end'), name('second')]);
  },
);

export const denialEnds = defineCase(
  {
    id: 'dns.negative.ends',
    area,
    title: 'A name that did not exist is found soon after it is made, and gone soon after it is deleted',
    description:
      'After NXDOMAIN for a name, its Service is made: it MUST resolve within the lifetime that the SOA of the denial gave (at most 60 s), and again be denied after its deletion, within the lifetime of its record.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
    timeoutMs: 200_000,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const question = { name: `late.${namespace}.svc.${t.cluster.clusterDomain}`, type: 'A' } as const;
    const denied = await client.dns(question);
    expect(denied).to.include({ outcome: 'answered', rcode: 'NXDOMAIN' });
    const [soa] = denied.authorities ?? [];
    expect(soa?.type, 'the record that says for how long').to.equal('SOA');
    const lifetime = Math.min(soa?.ttl ?? 0, Number(soa?.data.split(' ').at(-1) ?? 0));
    expect(lifetime, 'seconds for which the denial may be kept').to.be.at.most(60);
    const service = await expose(t, namespace, {}, 'late');
    const madeAt = performance.now();
    // A margin for the server's watch.
    const found = await answered(t, client, { ...question, withinMs: (lifetime + 10) * 1000 }, (result) =>
      same(dataOf(result), [addressOf(service)]),
    );
    t.measure({ name: 'time-to-resolve', value: (performance.now() - madeAt) / 1000, unit: 's', limit: lifetime });
    const ttl = found.answers?.[0]?.ttl ?? 0;
    expect(ttl, 'seconds for which the answer may be kept').to.be.at.most(60);
    await t.kube.core.deleteNamespacedService({ name: 'late', namespace });
    await answered(t, client, { ...question, withinMs: (ttl + 10) * 1000 }, ({ rcode }) => rcode === 'NXDOMAIN');
  },
);

export const largeAnswer = defineCase(
  {
    id: 'dns.large-answer',
    area,
    title: 'An answer too large for UDP is marked as cut short, and whole over TCP',
    description:
      'A headless Service with 60 endpoints: without EDNS the UDP answer MUST be marked as truncated and hold no wrong record, and TCP MUST give all 60; so must the resolver of a pod.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const block = addressBlock(namespace);
    const all = Array.from({ length: 60 }, (_unused, index) => `${block}.${index + 1}`).toSorted();
    await manualSet(
      t,
      namespace,
      all.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    );
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    await answered(t, client, { name, type: 'A', transport: 'tcp' }, (result) => same(dataOf(result).toSorted(), all));
    const short = await client.dns({ name, type: 'A' });
    expect(short.outcome, short.error).to.equal('answered');
    expect(short.truncated, 'the mark of a short answer').to.equal(true);
    expect(dataOf(short).filter((address) => !all.includes(address))).to.deep.equal([]);
    const { addresses, error } = await client.resolve(`${name}.`, 4);
    expect([...new Set(addresses)].toSorted(), error ?? 'the resolver of the pod').to.deep.equal(all);
  },
);

export const bothFamilies = defineCase(
  {
    id: 'dns.dual-stack',
    area,
    title: 'A Service of both families has both address records and both reverse names',
    description:
      'With ipFamilyPolicy RequireDualStack the name MUST have one A and one AAAA record, the two cluster IPs, and each MUST lead back to the name.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs: ['cluster-dns', 'ipv6'],
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await dualStackService(t, namespace);
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    for (const address of service.spec?.clusterIPs ?? []) {
      const type = address.includes(':') ? 'AAAA' : 'A';
      await answered(t, client, { name, type }, (result) => same(dataOf(result).map(canonical), [canonical(address)]));
      const back = await client.dns({ name: reverseName(address), type: 'PTR' });
      expect(dataOf(back), `the name of ${address}`).to.deep.equal([name]);
    }
  },
);

/** A headless Service without selector, with these endpoints and two named ports. */
async function manualSet(t: CaseContext, namespace: string, endpoints: V1Endpoint[]): Promise<void> {
  const ports = [
    { name: 'web', port: 8080, protocol: 'TCP' },
    { name: 'metrics', port: 9090, protocol: 'TCP' },
  ];
  await t.kube.core.createNamespacedService({
    namespace,
    body: { metadata: { name: 'web' }, spec: { clusterIP: 'None', ipFamilies: ['IPv4'], ports } },
  });
  const slice: V1EndpointSlice = {
    metadata: { name: 'web-manual', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints,
    ports,
  };
  await t.kube.discovery.createNamespacedEndpointSlice({ namespace, body: slice });
}

/** A /24 of the benchmarking range for each namespace: runs side by side must not answer for each other's addresses. */
function addressBlock(namespace: string): string {
  let sum = 0;
  for (const letter of namespace) sum = (sum * 31 + letter.charCodeAt(0)) % 512;
  return `198.${18 + (sum >> 8)}.${sum & 255}`;
}

function podThatNeverIsReady(namespace: string, image: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: unready, namespace: ${namespace}, labels: { role: server } }
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  readinessGates: [{ conditionType: plumbline.io/never }]
  securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: RuntimeDefault } }
  containers:
    - name: main
      image: ${image}
      imagePullPolicy: IfNotPresent
      command: [/bin/busybox, sleep, '1000000']
      resources: { requests: { cpu: 1m, memory: 8Mi } }
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
`;
}

async function dualStackService(t: CaseContext, namespace: string): Promise<V1Service> {
  try {
    return await expose(t, namespace, { ipFamilyPolicy: 'RequireDualStack' });
  } catch (error) {
    if (error instanceof Error && /RequireDualStack|dual-stack|ipFamilies/.test(error.message)) {
      return t.skip('Services of this cluster have one family');
    }
    throw error;
  }
}

function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').toReversed().join('.')}.in-addr.arpa`;
  const [head = '', tail] = canonical(address).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: tail === undefined ? 0 : 8 - left.length - right.length }, () => '0');
  const digits = [...left, ...zeros, ...right].map((group) => group.padStart(4, '0')).join('');
  return `${[...digits].toReversed().join('.')}.ip6.arpa`;
}

/** The one spelling of an IPv6 address. */
function canonical(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address;
}

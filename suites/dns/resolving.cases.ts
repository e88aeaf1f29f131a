// SPDX-License-Identifier: Apache-2.0
/** How pods come to their answers: resolv.conf, search lists, transports, and each of the servers behind the DNS Service. */
import { expect } from 'chai';
import { captureOnNode } from '../../probes/capture/node-capture.ts';
import { defineCase, done, InconclusiveError, pending } from '../case.ts';
import { addressOf, expose, startBackends } from '../services/fixture.ts';
import { parseResolvConf } from './resolv-conf.ts';

const area = 'dns';
const needs = ['cluster-dns'] as const;

export const searchPath = defineCase(
  {
    id: 'dns.search-path',
    area,
    title: 'Short names resolve by the search list',
    description:
      'A pod MUST find a Service as SERVICE in its own namespace, and as SERVICE.NAMESPACE and SERVICE.NAMESPACE.svc from anywhere.',
    requirements: ['000 §14', '001 ch10', '003 DNS'],
    modes: ['quick', 'network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await expose(t, namespace);
    for (const name of [
      'web',
      `web.${namespace}`,
      `web.${namespace}.svc`,
      `web.${namespace}.svc.${t.cluster.clusterDomain}.`,
    ]) {
      await t.waitFor(`${name} to resolve`, async () => {
        const { addresses, error } = await client.resolve(name, 4);
        return addresses[0] === addressOf(service) ? done(undefined) : pending(error ?? addresses.join(', '));
      });
    }
    const elsewhere = await t.probes.pod({ namespace: await t.namespace('other'), name: 'elsewhere' });
    expect((await elsewhere.resolve('web', 4)).addresses, 'the short name in another namespace').to.deep.equal([]);
    expect((await elsewhere.resolve(`web.${namespace}`, 4)).addresses).to.deep.equal([addressOf(service)]);
  },
);

export const resolvConf = defineCase(
  {
    id: 'dns.policy.cluster-first',
    area,
    title: 'resolv.conf names the DNS Service, the search list and ndots 5',
    description:
      'With dnsPolicy ClusterFirst a container’s resolv.conf MUST have the ClusterIP of the DNS Service first, the three cluster domains in order, and ndots:5.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const namespace = await t.namespace();
    const pod = await t.probes.pod({ namespace });
    const text = (await pod.exec(['/bin/busybox', 'cat', '/etc/resolv.conf'])).stdout.toString();
    const search = /^search (.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
    const zone = t.cluster.clusterDomain;
    expect(search.slice(0, 3)).to.deep.equal([`${namespace}.svc.${zone}`, `svc.${zone}`, zone]);
    expect(text).to.match(/^options .*ndots:5/m);
    expect(/^nameserver (\S+)$/m.exec(text)?.[1]).to.be.a('string');
  },
);

export const policyNone = defineCase(
  {
    id: 'dns.policy.none',
    area,
    title: 'dnsPolicy None takes everything from dnsConfig',
    description:
      'With dnsPolicy None resolv.conf MUST hold the servers, searches and options of dnsConfig and nothing else.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
  },
  async (t) => {
    const dnsConfig = {
      nameservers: ['192.0.2.53'],
      searches: ['one.example', 'two.example'],
      options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
    };
    const pod = await t.probes.pod({ spec: { dnsPolicy: 'None', dnsConfig } });
    const text = (await pod.exec(['/bin/busybox', 'cat', '/etc/resolv.conf'])).stdout.toString();
    expect(parseResolvConf(text)).to.deep.equal({
      nameservers: ['192.0.2.53'],
      searches: ['one.example', 'two.example'],
      options: ['edns0', 'ndots:2'],
      others: [],
    });
  },
);

export const ndots = defineCase(
  {
    id: 'dns.ndots',
    area,
    title: 'ndots decides whether the search list or the name itself is asked for first',
    description:
      'A name with fewer dots than ndots MUST be asked for with the first search domain first, one with as many MUST be asked for as it stands; seen in the queries that leave the pod.',
    requirements: ['000 §14', '001 ch10'],
    modes: ['full'],
    needs: ['cluster-dns', 'node-probe'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const service = await expose(t, namespace);
    const node = t.cluster.workers[0] ?? '';
    const [five, two] = await t.probes.pods([
      { namespace, name: 'five', node },
      { namespace, name: 'two', node, spec: { dnsConfig: { options: [{ name: 'ndots', value: '2' }] } } },
    ]);
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    const probe = await t.probes.node(node);
    for (const [pod, first] of [
      [five, `${name}.${namespace}.svc.${t.cluster.clusterDomain}.`],
      [two, `${name}.`],
    ] as const) {
      const capture = await captureOnNode(probe, `udp dst port 53 and src host ${pod?.ip}`);
      const resolved = await pod?.resolve(name, 4);
      const { text } = await capture.stop();
      expect(resolved?.addresses, resolved?.error ?? name).to.deep.equal([addressOf(service)]);
      expect(/ A\? (\S+)/.exec(text)?.[1], `the first question of ${pod?.description} in:\n${text}`).to.equal(first);
    }
  },
);

export const overTcp = defineCase(
  {
    id: 'dns.transport.tcp',
    area,
    title: 'The DNS Service answers over TCP and keeps to the client’s EDNS size',
    description: 'The same question over TCP and over UDP with EDNS MUST have the same answer.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const client = await t.probes.pod();
    const question = { name: `kubernetes.default.svc.${t.cluster.clusterDomain}`, type: 'A' } as const;
    const plain = await client.dns(question);
    expect(plain.outcome, plain.error).to.equal('answered');
    for (const variant of [{ transport: 'tcp' }, { udpPayloadSize: 1232 }] as const) {
      const other = await client.dns({ ...question, ...variant });
      expect(other.outcome, other.error).to.equal('answered');
      expect(other.answers?.map(({ data }) => data)).to.deep.equal(plain.answers?.map(({ data }) => data));
    }
  },
);

export const everyServer = defineCase(
  {
    id: 'dns.servers.each',
    area,
    title: 'Every pod behind the DNS Service answers',
    description:
      'Each ready endpoint of kube-dns, asked at its own address from every worker, MUST resolve kubernetes.default. One deaf server shows as time-outs of some queries only.',
    requirements: ['000 §14', '001 ch10'],
    modes: ['quick', 'network'],
    needs,
  },
  async (t) => {
    const slices = await t.kube.discovery.listNamespacedEndpointSlice({
      namespace: 'kube-system',
      labelSelector: 'kubernetes.io/service-name=kube-dns',
    });
    const servers = slices.items
      .flatMap(({ endpoints }) => endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap(({ addresses }) => addresses);
    if (servers.length === 0) throw new InconclusiveError('kube-system/kube-dns has no ready endpoint');
    const clients = await t.probes.pods(t.cluster.workers.slice(0, 2).map((node) => ({ node })));
    for (const client of clients) {
      for (const server of servers) {
        const name = `kubernetes.default.svc.${t.cluster.clusterDomain}`;
        const result = await client.dns({ server, name, type: 'A', timeoutMs: 2_000 });
        expect(result.outcome, `${client.description} asking ${server}: ${result.error ?? ''}`).to.equal('answered');
        expect(result.answers?.length, `${client.description} asking ${server}`).to.equal(1);
        t.measure({ name: `latency-${server}`, value: result.latencyMs, unit: 'ms' });
      }
    }
  },
);

export const hostAliases = defineCase(
  {
    id: 'dns.host-aliases',
    area,
    title: 'hostAliases stand in /etc/hosts and win over DNS',
    description: 'Every alias MUST resolve to its address inside the pod, and the pod’s own name to its own address.',
    requirements: ['003 hostAliases'],
    modes: ['network'],
  },
  async (t) => {
    const pod = await t.probes.pod({
      name: 'aliased',
      spec: { hostAliases: [{ ip: '192.0.2.7', hostnames: ['seven.example', 'sieben'] }] },
    });
    expect((await pod.resolve('seven.example', 4)).addresses).to.deep.equal(['192.0.2.7']);
    expect((await pod.resolve('sieben', 4)).addresses).to.deep.equal(['192.0.2.7']);
    expect((await pod.resolve('aliased', 4)).addresses).to.deep.equal([pod.ip]);
  },
);

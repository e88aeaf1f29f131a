// SPDX-License-Identifier: Apache-2.0
/** Records of the cluster's zone, asked of the DNS Service as a pod sees it; names, not implementations, are judged. */
import { expect } from 'chai';
import type { DnsResult } from '../../probes/agent/protocol.ts';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { answered, dataOf, same } from './answers.ts';
import { addressOf, expose, startBackends } from '../services/fixture.ts';

const area = 'dns';
const needs = ['cluster-dns'] as const;

export const serviceAddress = defineCase(
  {
    id: 'dns.service.a',
    area,
    title: 'The name of a Service resolves to its ClusterIP',
    description:
      'SERVICE.NAMESPACE.svc.ZONE MUST have exactly one A record, the ClusterIP, soon after the Service exists.',
    requirements: ['000 §14', '001 ch10', '003 DNS'],
    modes: ['quick', 'network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await expose(t, namespace);
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    const answer = await answered(t, client, { name, type: 'A' }, (result) => dataOf(result).length > 0);
    expect(dataOf(answer)).to.deep.equal([addressOf(service)]);
    expect(answer.rcode).to.equal('NOERROR');
  },
);

export const noData = defineCase(
  {
    id: 'dns.service.no-data',
    area,
    title: 'A name that exists without records of the type is answered with nothing, not with NXDOMAIN',
    description:
      'AAAA for an IPv4 Service MUST be NOERROR with no answer: NXDOMAIN would make resolvers give up on the A record too.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await expose(t, namespace);
    if ((service.spec?.clusterIPs ?? []).some((ip) => ip.includes(':'))) t.skip('the Service has an IPv6 address too');
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    await answered(t, client, { name, type: 'A' }, (result) => dataOf(result).length > 0);
    const answer = await client.dns({ name, type: 'AAAA' });
    expect(answer).to.include({ outcome: 'answered', rcode: 'NOERROR' });
    expect(dataOf(answer)).to.deep.equal([]);
  },
);

export const servicePorts = defineCase(
  {
    id: 'dns.service.srv',
    area,
    title: 'A named port of a Service has an SRV record',
    description:
      '_PORT._PROTOCOL.SERVICE.NAMESPACE.svc.ZONE MUST give the port number and a target that resolves to the ClusterIP.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await expose(t, namespace, { ports: [{ name: 'web', port: 8443, targetPort: 8080 }] });
    const name = `_web._tcp.web.${namespace}.svc.${t.cluster.clusterDomain}`;
    const answer = await answered(t, client, { name, type: 'SRV' }, (result) => dataOf(result).length > 0);
    const [, , port, target = ''] = dataOf(answer)[0]?.split(' ') ?? [];
    expect(Number(port)).to.equal(8443);
    expect(dataOf(await client.dns({ name: target, type: 'A' }))).to.deep.equal([addressOf(service)]);
  },
);

export const reverse = defineCase(
  {
    id: 'dns.service.ptr',
    area,
    title: 'The address of a Service leads back to its name',
    description: 'The PTR record of a ClusterIP MUST be the Service’s full name.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const service = await expose(t, namespace);
    if (addressOf(service).includes(':')) t.skip('the ClusterIP is an IPv6 address');
    const name = `${addressOf(service).split('.').toReversed().join('.')}.in-addr.arpa`;
    const answer = await answered(t, client, { name, type: 'PTR' }, (result) => dataOf(result).length > 0);
    expect(dataOf(answer)).to.deep.equal([`web.${namespace}.svc.${t.cluster.clusterDomain}`]);
  },
);

export const headlessSet = defineCase(
  {
    id: 'dns.headless.set',
    area,
    title: 'The name of a headless Service resolves to all its ready pods',
    description: 'A headless Service’s name MUST have one A record for each ready pod, and one less when a pod goes.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['quick', 'network'],
    needs,
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 3);
    await expose(t, namespace, { clusterIP: 'None' });
    const name = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    const all = servers.map(({ ip }) => ip).toSorted();
    await answered(t, client, { name, type: 'A' }, (result) => same(dataOf(result).toSorted(), all));
    await t.kube.core.deleteNamespacedPod({ name: servers[0]?.name ?? '', namespace });
    const left = servers
      .slice(1)
      .map(({ ip }) => ip)
      .toSorted();
    await answered(t, client, { name, type: 'A', withinMs: 30_000 }, (result) => same(dataOf(result).toSorted(), left));
  },
);

export const podNames = defineCase(
  {
    id: 'dns.headless.pod-names',
    area,
    title: 'A pod with hostname and subdomain has a name of its own',
    description:
      'HOSTNAME.SUBDOMAIN.NAMESPACE.svc.ZONE MUST resolve to the pod’s address where the subdomain is a headless Service; SRV records of the set MUST name it.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    await expose(t, namespace, { clusterIP: 'None' });
    const pod = await t.probes.pod({
      namespace,
      name: 'member',
      labels: { role: 'server' },
      spec: { hostname: 'first', subdomain: 'web' },
    });
    const name = `first.web.${namespace}.svc.${t.cluster.clusterDomain}`;
    await answered(t, client, { name, type: 'A' }, (result) => same(dataOf(result), [pod.ip]));
    const srv = await client.dns({ name: `_web._tcp.web.${namespace}.svc.${t.cluster.clusterDomain}`, type: 'SRV' });
    expect(dataOf(srv).map((data) => data.split(' ').slice(2).join(' '))).to.deep.equal([`8080 ${name}`]);
    expect((await pod.exec(['/bin/busybox', 'hostname', '-f'])).stdout.toString().trim()).to.equal(name);
  },
);

export const statefulSetNames = defineCase(
  {
    id: 'dns.statefulset.pod-names',
    area,
    title: 'The pods of a StatefulSet are found by stable names',
    description:
      'SET-N.SERVICE.NAMESPACE.svc.ZONE MUST resolve to pod N, and to its new address after the pod was replaced.',
    requirements: ['001 ch10', '003 Workloads'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    await t.apply({ fixture: 'dns/stateful-set', values: { namespace, image: t.images.probe } });
    for (const ordinal of [0, 1]) {
      const ip = await readyPodIp(t, namespace, `web-${ordinal}`);
      const name = `web-${ordinal}.web.${namespace}.svc.${t.cluster.clusterDomain}`;
      await answered(t, client, { name, type: 'A' }, (result) => same(dataOf(result), [ip]));
    }
    const before = await t.kube.core.readNamespacedPod({ name: 'web-1', namespace });
    await t.kube.core.deleteNamespacedPod({ name: 'web-1', namespace });
    const after = await readyPodIp(t, namespace, 'web-1', before.metadata?.uid);
    const name = `web-1.web.${namespace}.svc.${t.cluster.clusterDomain}`;
    await answered(t, client, { name, type: 'A', withinMs: 45_000 }, (result) => same(dataOf(result), [after]));
  },
);

export const externalName = defineCase(
  {
    id: 'dns.external-name',
    area,
    title: 'An ExternalName Service is a CNAME',
    description: 'The name of a Service of type ExternalName MUST be a CNAME record for spec.externalName.',
    requirements: ['001 ch10', '003 Services'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const inside = await expose(t, namespace, {}, 'inside');
    const target = `inside.${namespace}.svc.${t.cluster.clusterDomain}`;
    await t.kube.core.createNamespacedService({
      namespace,
      body: { metadata: { name: 'alias' }, spec: { type: 'ExternalName', externalName: target } },
    });
    const name = `alias.${namespace}.svc.${t.cluster.clusterDomain}`;
    const cname = (result: DnsResult): string[] =>
      (result.answers ?? []).filter(({ type }) => type === 'CNAME').map(({ data }) => data.replace(/\.$/, ''));
    await answered(t, client, { name, type: 'CNAME' }, (result) => same(cname(result), [target]));
    // An address query follows the alias.
    const answer = await answered(t, client, { name, type: 'A' }, (result) => dataOf(result, 'A').length > 0);
    expect(cname(answer)).to.deep.equal([target]);
    expect(dataOf(answer, 'A')).to.deep.equal([addressOf(inside)]);
  },
);

export const nameError = defineCase(
  {
    id: 'dns.nxdomain',
    area,
    title: 'A name that does not exist in the zone is NXDOMAIN, with an SOA',
    description:
      'An unknown Service MUST be answered with NXDOMAIN and the zone’s SOA, so that resolvers know how long to remember it.',
    requirements: ['001 ch10'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    const answer = await client.dns({ name: `nobody.${namespace}.svc.${t.cluster.clusterDomain}`, type: 'A' });
    expect(answer).to.include({ outcome: 'answered', rcode: 'NXDOMAIN' });
    expect((answer.authorities ?? []).map(({ type }) => type)).to.deep.equal(['SOA']);
  },
);

export const podRecord = defineCase(
  {
    id: 'dns.pod.address-name',
    area,
    title: 'A pod’s address written as a name resolves to it',
    description: 'A-B-C-D.NAMESPACE.pod.ZONE MUST resolve to A.B.C.D.',
    requirements: ['001 ch10', '003 DNS'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    if (client.ip.includes(':')) t.skip('pods have IPv6 addresses');
    const name = `${client.ip.replaceAll('.', '-')}.${namespace}.pod.${t.cluster.clusterDomain}`;
    expect(dataOf(await client.dns({ name, type: 'A' }))).to.deep.equal([client.ip]);
  },
);

async function readyPodIp(t: CaseContext, namespace: string, name: string, notUid?: string): Promise<string> {
  return t.waitFor(`pod ${name} to be Ready`, async () => {
    const pod = await t.kube.core.readNamespacedPod({ name, namespace });
    const ready = pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
    if (pod.metadata?.uid === notUid) return pending('the old pod is still there');
    return ready && pod.status?.podIP !== undefined ? done(pod.status.podIP) : pending(`phase ${pod.status?.phase}`);
  });
}

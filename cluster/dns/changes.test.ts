// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import * as fc from 'fast-check';
import type { EndpointSlice, Pod, Service } from '../machinery/api-types.ts';
import { AnswerCache } from './answer-cache.ts';
import { Changes } from './changes.ts';
import { dataText, encodeQuestion, startDns, type RunningDns } from './testing.ts';

describe('changes of the cluster', () => {
  it('leave what is made of other parts as it is', () => {
    const changes = new Changes();
    const { generation } = changes;
    changes.note(['a', 'b']);
    expect(changes.unchangedSince(generation, ['c'])).to.equal(true);
    expect(changes.unchangedSince(generation, ['c', 'b'])).to.equal(false);
    expect(changes.unchangedSince(changes.generation, ['a', 'b'])).to.equal(true);
  });

  it('count for all parts once there are too many to remember', () => {
    const changes = new Changes(2);
    const { generation } = changes;
    changes.note(['a', 'b', 'c']);
    expect(changes.unchangedSince(generation, ['d'])).to.equal(false);
    expect(changes.unchangedSince(changes.generation, ['a'])).to.equal(true);
  });

  it('make only answers of those parts be worked out again', () => {
    const changes = new Changes();
    const cache = new AnswerCache();
    const packet = encodeQuestion('web.default.svc.cluster.local', 'A');
    const source = { generation: changes.generation, parts: ['s default/web'] };
    cache.put(packet, { reply: packet, addresses: undefined, source, used: () => undefined, age: 0 });
    changes.note(['s default/other']);
    expect(cache.answer(packet, changes, 0)).to.deep.equal(packet);
    changes.note(['s default/web']);
    expect(cache.answer(packet, changes, 0)).to.equal(undefined);
  });
});

describe('ready answers of a changing cluster', () => {
  const names = ['one', 'two'];
  const address = (host: number): string => `10.0.0.${host}`;
  const host = fc.integer({ min: 1, max: 4 });
  const metadata = fc.constantFrom(...names).map((name) => ({ name, namespace: 'default' }));
  const service = fc
    .record({ metadata, headless: fc.boolean(), host })
    .map(({ metadata: meta, headless, host: last }) => ({
      plural: 'services' as const,
      object: { metadata: meta, spec: { clusterIP: headless ? 'None' : address(last) } } satisfies Service,
    }));
  const slice = fc.record({ metadata, hosts: fc.array(host, { maxLength: 3 }), ready: fc.boolean() }).map((made) => ({
    plural: 'endpointslices' as const,
    object: {
      metadata: { ...made.metadata, labels: { 'kubernetes.io/service-name': made.metadata.name } },
      addressType: 'IPv4',
      endpoints: made.hosts.map((last) => ({ addresses: [address(last)], conditions: { ready: made.ready } })),
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    } satisfies EndpointSlice,
  }));
  const pod = fc.record({ metadata, host }).map(({ metadata: meta, host: last }) => ({
    plural: 'pods' as const,
    object: {
      metadata: meta,
      spec: { containers: [] },
      status: { podIPs: [{ ip: address(last) }] },
    } satisfies Pod,
  }));
  const steps = fc.array(fc.tuple(fc.boolean(), fc.oneof(service, slice, pod)), { minLength: 1, maxLength: 12 });
  const questions = [
    ...names.flatMap((name) => [
      [`${name}.default.svc.cluster.local`, 'A'],
      [`${name}.default.svc.cluster.local`, 'SRV'],
      [`10-0-0-1.${name}.default.svc.cluster.local`, 'A'],
    ]),
    ...[1, 2].flatMap((last) => [
      [`${last}.0.0.10.in-addr.arpa`, 'PTR'],
      [`10-0-0-${last}.default.pod.cluster.local`, 'A'],
    ]),
  ] as const;

  it('are those that are worked out anew', async () => {
    const dns = await startDns('. {\n kubernetes cluster.local in-addr.arpa {\n  pods verified\n }\n}');
    const there = new Map<string, Parameters<typeof dns.cluster.change>[2]>();
    let turn = 0;
    try {
      await fc.assert(
        fc.asyncProperty(steps, async (changes) => {
          for (const [isDeletion, { plural, object }] of changes) {
            const key = `${plural} ${object.metadata.name}`;
            const old = there.get(key);
            if (isDeletion && old === undefined) continue;
            if (isDeletion) there.delete(key);
            else there.set(key, object);
            // A deletion shows what was there last.
            if (isDeletion && old !== undefined) dns.cluster.change(plural, 'DELETED', old);
            else dns.cluster.change(plural, old === undefined ? 'ADDED' : 'MODIFIED', object);
            for (const [name = '', asked = 'A'] of questions) {
              // Nobody has asked in this spelling before.
              const anew = await answer(dns, respelt(name, ++turn), asked);
              expect(await answer(dns, name, asked), `${name} ${asked}`).to.deep.equal(anew);
            }
          }
        }),
        { numRuns: 60 },
      );
    } finally {
      dns.close();
    }
  });
});

/** The letters of the name, as capitals where the number has a bit. */
function respelt(name: string, bits: number): string {
  let letter = 0;
  return name.replaceAll(/[a-z]/g, (one) => ((bits >> letter++) & 1 ? one.toUpperCase() : one));
}

async function answer(dns: RunningDns, name: string, type: string): Promise<string[]> {
  const source = { address: '127.0.0.1', port: 1, transport: 'udp' } as const;
  const reply = await dns.server.frontends[0]?.handle(encodeQuestion(name, type), source);
  const { answers, flags } = dnsPacket.decode(reply ?? Buffer.alloc(0));
  const found = (answers ?? []).map((one) => ('data' in one ? dataText(one.data) : ''));
  return [String((flags ?? 0) & 0x0f), ...found.map((text) => text.toLowerCase()).toSorted()];
}

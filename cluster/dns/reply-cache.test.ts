// SPDX-License-Identifier: Apache-2.0
// What is kept for how long, by a clock of the test's own.
import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import type { Answer } from 'dns-packet';

import { parseCorefile } from './corefile.ts';
import { ReplyCache, keyOf } from './reply-cache.ts';
import { encodeQuestion } from './testing.ts';
import { parseQuery } from './wire.ts';
import type { Query } from './wire.ts';

describe('reply cache', () => {
  let now = 0;
  const cache = (options = ''): ReplyCache => {
    const text = `. {\n cache {\n${options}\n}\n}`;
    const [config] = parseCorefile(text, { file: 'Corefile', environment: {}, read: () => [] });
    if (config?.cache === undefined) throw new Error('no cache');
    now = 1_000_000;
    return new ReplyCache(config.cache, () => now);
  };
  const put = (into: ReplyCache, name: string, reply: Buffer): void =>
    void into.put(query(name), keyOf(query(name)), reply);
  /** The kind of what is found and its first TTL, or undefined. */
  const look = (from: ReplyCache, name: string): string | undefined => {
    const found = from.get(keyOf(query(name)));
    if (found === undefined) return undefined;
    const { answers, authorities } = dnsPacket.decode(from.render(query(name), found.entry));
    const [record] = [...(answers ?? []), ...(authorities ?? [])];
    const ttl = record !== undefined && 'ttl' in record ? record.ttl : '-';
    return `${found.entry.kind} ${ttl}${found.stale ? ' stale' : ''}${found.prefetch ? ' prefetch' : ''}`;
  };

  it('counts lifetimes down, and ends with them', () => {
    const kept = cache();
    put(kept, 'a.example', success('a.example', 60));
    now += 20_500;
    expect(look(kept, 'a.example')).to.equal('success 40');
    now += 39_500;
    expect(look(kept, 'a.example')).to.equal(undefined);
  });

  it('keeps denials as long as the lesser of SOA lifetime and minimum, and denials without SOA not at all', () => {
    const kept = cache();
    put(kept, 'no.example', denial('no.example', { ttl: 300, minimum: 20 }));
    put(kept, 'nodata.example', denial('nodata.example', { ttl: 30, minimum: 600, rcode: 0 }));
    put(kept, 'bare.example', reply('bare.example', 3, [], []));
    now += 19_000;
    expect(look(kept, 'no.example')).to.equal('denial 1');
    expect(look(kept, 'nodata.example')).to.equal('denial 11');
    expect(look(kept, 'bare.example')).to.equal(undefined);
    now += 1000;
    expect(look(kept, 'no.example')).to.equal(undefined);
  });

  it('keeps to the bounds of lifetimes and capacities, each kind by itself', () => {
    const kept = cache('success 3 100 10\n denial 2 40');
    put(kept, 'short.example', success('short.example', 1));
    put(kept, 'long.example', success('long.example', 1000));
    now += 9000;
    expect(look(kept, 'short.example')).to.equal('success 0');
    expect(look(kept, 'long.example')).to.equal('success 91');
    for (let index = 0; index < 10; index++)
      put(kept, `n${index}.example`, denial(`n${index}.example`, { ttl: 50, minimum: 50 }));
    expect(kept.sizes).to.deep.equal({ success: 2, denial: 2 });
    for (let index = 0; index < 2; index++) put(kept, `s${index}.example`, success(`s${index}.example`, 50));
    expect(look(kept, 'short.example'), 'the one not used for longest leaves').to.equal(undefined);
    expect(look(kept, 'long.example')).to.equal('success 91');
  });

  it('keeps failures of servers for a while, without hiding an older answer that may be given', () => {
    const plain = cache();
    put(plain, 'a.example', reply('a.example', 2, [], []));
    expect(look(plain, 'a.example')).to.equal('servfail -');
    now += 5000;
    expect(look(plain, 'a.example')).to.equal(undefined);
    const none = cache('servfail 0');
    put(none, 'a.example', reply('a.example', 2, [], []));
    expect(look(none, 'a.example')).to.equal(undefined);
    const stale = cache('serve_stale 1h');
    put(stale, 'a.example', success('a.example', 10));
    now += 11_000;
    put(stale, 'a.example', reply('a.example', 2, [], []));
    expect(look(stale, 'a.example')).to.equal('success 0 stale');
    now += 3_600_000;
    expect(look(stale, 'a.example')).to.equal(undefined);
  });

  it('has popular answers fetched anew before they end, once', () => {
    const kept = cache('prefetch 2 10s 20%');
    put(kept, 'a.example', success('a.example', 100));
    for (let turn = 0; turn < 3; turn++) look(kept, 'a.example');
    now += 9000;
    expect(look(kept, 'a.example')).to.equal('success 91');
    for (let turn = 0; turn < 8; turn++) {
      now += 9000;
      look(kept, 'a.example');
    }
    expect(look(kept, 'a.example')).to.equal('success 19 prefetch');
    const found = kept.get(keyOf(query('a.example')));
    if (found !== undefined) found.entry.fetching = true;
    expect(look(kept, 'a.example')).to.equal('success 19');
    // After a gap it is popular no longer.
    put(kept, 'b.example', success('b.example', 100));
    for (let turn = 0; turn < 5; turn++) look(kept, 'b.example');
    now += 85_000;
    expect(look(kept, 'b.example')).to.equal('success 15');
  });

  it('keeps neither refusals nor what was cut short, and nothing of the domains left out', () => {
    const kept = cache('disable denial corp.example\n disable success live.example');
    put(kept, 'r.example', reply('r.example', 5, [], []));
    const cut = success('t.example', 60);
    cut.writeUInt16BE(cut.readUInt16BE(2) | 0x0200, 2);
    put(kept, 't.example', cut);
    put(kept, 'no.corp.example', denial('no.corp.example', { ttl: 60, minimum: 60 }));
    put(kept, 'a.live.example', success('a.live.example', 60));
    put(kept, 'a.corp.example', success('a.corp.example', 60));
    expect(kept.sizes).to.deep.equal({ success: 1, denial: 0 });
  });

  it('keeps apart what differs by DNSSEC and EDNS', () => {
    const plain = query('a.example');
    const edns = { udpSize: 1232, version: 0, dnssecOk: false };
    const keys = [
      plain,
      { ...plain, edns },
      { ...plain, edns: { ...edns, dnssecOk: true } },
      { ...plain, checkingDisabled: true },
    ];
    expect(new Set(keys.map(keyOf)).size).to.equal(4);
  });
});

function query(name: string): Query {
  const parsed = parseQuery(encodeQuestion(name, 'A'));
  if (!parsed.ok) throw new Error(name);
  return parsed.query;
}

function success(name: string, ttl: number): Buffer {
  return reply(name, 0, [{ type: 'A', name, ttl, data: '192.0.2.1' }], []);
}

function denial(name: string, { ttl, minimum, rcode = 3 }: { ttl: number; minimum: number; rcode?: number }): Buffer {
  const data = { mname: 'ns', rname: 'root', serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return reply(name, rcode, [], [{ type: 'SOA', name: 'example', ttl, data }]);
}

function reply(name: string, rcode: number, answers: Answer[], authorities: Answer[]): Buffer {
  return dnsPacket.encode({ type: 'response', flags: rcode, questions: [{ type: 'A', name }], answers, authorities });
}

// SPDX-License-Identifier: Apache-2.0
// Corefiles: what they mean, and what is said about mistakes.
import { expect } from 'chai';
import * as fc from 'fast-check';

import { CorefileError } from './corefile-syntax.ts';
import { parseCorefile } from './corefile.ts';
import { reverseZones } from './names.ts';
import { parsePrefix } from '../network/addresses.ts';
import type { ServerConfig } from './corefile.ts';

const parse = (text: string, files: Readonly<Record<string, string>> = {}): ServerConfig[] =>
  parseCorefile(text, {
    file: 'Corefile',
    environment: { UPSTREAM: '192.0.2.53' },
    read: (pattern) =>
      Object.entries(files)
        .filter(([file]) => (pattern.endsWith('*') ? file.startsWith(pattern.slice(0, -1)) : file === pattern))
        .map(([file, text]) => ({ file, text })),
  });

describe('Corefile', () => {
  const mistakes: readonly (readonly [string, string])[] = [
    ['', 'Corefile: no server block'],
    ['.:53 {', 'Corefile:1: this block has no closing "}"'],
    ['.:53 {\n}\n}', 'Corefile:3: unexpected "}"'],
    ['.:53\n errors', 'Corefile:1: server block ".:53" has no "{"'],
    ['. {\n errors }\n}', 'Corefile:2: "}" must stand on a line of its own'],
    ['. {\n etcd\n}', 'Corefile:2: unknown plugin "etcd"; there are autopath, bind'],
    ['. {\n errors\n errors\n}', 'Corefile:3: plugin "errors" is there twice'],
    ['. {\n}\n. {\n}', 'Corefile:3: . on port 53 is served by the block of line 1'],
    ['tls://. {\n}', 'Corefile:1: server key "tls://.": only dns:// is served'],
    ['.:99999 {\n}', 'Corefile:1: server key ".:99999": the port is not'],
    ['10.0.0.0/99 {\n}', 'Corefile:1: server key "10.0.0.0/99"'],
    ['a..b {\n}', 'Corefile:1: server key "a..b"'],
    ['. {\n kubernetes\n}', 'Corefile:2: kubernetes needs the cluster domain'],
    ['. {\n kubernetes cluster.local {\n  pods some\n }\n}', 'Corefile:3: pods "some" is not'],
    ['. {\n kubernetes cluster.local {\n  endpoint x\n }\n}', 'Corefile:3: unknown option "endpoint" of kubernetes'],
    ['. {\n kubernetes cluster.local {\n  upstream 1.1.1.1\n }\n}', 'Corefile:3: upstream takes no servers'],
    ['. {\n cache 30 {\n  success\n }\n}', 'Corefile:3: "" is not a whole number'],
    ['. {\n cache {\n  prefetch 5 1m 95%\n }\n}', 'Corefile:3: prefetch "95%" is not a percentage'],
    ['. {\n cache {\n  servfail 6m\n }\n}', 'Corefile:3: servfail: from 0 to 5m'],
    ['. {\n forward .\n}', 'Corefile:2: forward needs a domain and servers'],
    ['. {\n forward . nowhere\n}', 'Corefile:2: "nowhere" is not an address or a file'],
    ['. {\n forward . tls://9.9.9.9\n}', 'Corefile:2: forward: tls:// is not supported'],
    ['. {\n forward . 9.9.9.9 {\n  failover LATE\n }\n}', 'Corefile:3: failover: "LATE" is not a response code'],
    ['. {\n rewrite type ANY HINFO\n}', 'Corefile:2: rewrite "type" is not supported'],
    ['. {\n rewrite name regex ( x\n}', 'Corefile:2: "(" is not a regular expression'],
    ['. {\n rewrite name regex a b answer auto\n}', 'Corefile:2: rewrite name regex cannot be turned back by itself'],
    ['. {\n autopath @kubernetes\n}', 'Corefile:1: autopath @kubernetes needs "kubernetes" with "pods verified"'],
    ['. {\n health 8080\n}', 'Corefile:2: "8080" is not an address such as :8080'],
    ['. {\n log {\n  class some\n }\n}', 'Corefile:3: class "some" is not'],
    ['. {\n import nothing\n}', 'Corefile:2: import nothing: no such snippet or file'],
    ['. {\n hosts {\n  1.2.3.4\n }\n}', 'Corefile:3: 1.2.3.4 has no names'],
    ['(a) {\n}\n(a) {\n}', 'Corefile:3: the snippet (a) is there twice'],
  ];
  for (const [text, message] of mistakes) {
    it(`names the mistake: ${message}`, () => expect(() => parse(text)).to.throw(CorefileError, message));
  }

  it('says in which imported file a mistake is, and notices circles', () => {
    expect(() => parse('. {\n import parts/*\n}', { 'parts/a': 'errors\nnothing' })).to.throw(
      'parts/a:2: unknown plugin',
    );
    expect(() => parse('import a', { a: 'import a' })).to.throw('import each other in a circle');
  });

  it("reads kubeadm's file", () => {
    const [config] = parse(`.:53 {
      errors
      health {
         lameduck 5s
      }
      ready
      kubernetes cluster.local in-addr.arpa ip6.arpa {
         pods insecure
         fallthrough in-addr.arpa ip6.arpa
         ttl 30
      }
      prometheus :9153
      forward . /etc/resolv.conf {
         max_concurrent 1000
      }
      cache 30 {
         disable success cluster.local
         disable denial cluster.local
      }
      loop
      reload
      loadbalance
    }`);
    expect(config).to.deep.include({
      port: 53,
      zones: [''],
      health: { at: { host: undefined, port: 8080 }, lameduckMs: 5000 },
      ready: { host: undefined, port: 8181 },
      metrics: { host: undefined, port: 9153 },
      reloadMs: 30_000,
      detectLoops: true,
      shuffle: true,
      logErrors: true,
    });
    expect(config?.kubernetes).to.deep.include({
      domains: ['cluster.local'],
      pods: 'insecure',
      ttl: 30,
      fallthrough: ['in-addr.arpa', 'ip6.arpa'],
    });
    expect(config?.cache).to.deep.include({
      success: { capacity: 9984, maxTtl: 30, minTtl: 5 },
      uncached: { success: ['cluster.local'], denial: ['cluster.local'] },
    });
  });

  it("reads a node-local cache's file: several blocks, bind, own limits", () => {
    const text = ['cluster.local:53', 'in-addr.arpa:53', '.:53']
      .map(
        (key) => `${key} {
        errors
        cache {
          success 9984 30
          denial 9984 5
          prefetch 3 1m 20%
          serve_stale 2h verify
          servfail 0
        }
        reload
        loop
        bind 169.254.20.10 10.96.0.10
        forward . {$UPSTREAM} {
          force_tcp
          health_check 1s no_rec domain example.org
          max_fails 3
          expire 20s
        }
        prometheus :9253
      }`,
      )
      .join('\n');
    const configs = parse(text);
    expect(configs.map(({ zones }) => zones)).to.deep.equal([['cluster.local'], ['in-addr.arpa'], ['']]);
    expect(configs[0]).to.deep.include({ bind: ['169.254.20.10', '10.96.0.10'] });
    expect(configs[0]?.forwards[0]).to.deep.include({
      to: ['192.0.2.53#53'],
      forceTcp: true,
      maxFails: 3,
      expireMs: 20_000,
      healthCheck: { everyMs: 1000, recursive: false, name: 'example.org' },
    });
    expect(configs[0]?.cache).to.deep.include({
      success: { capacity: 9984, maxTtl: 30, minTtl: 5 },
      denial: { capacity: 9984, maxTtl: 5, minTtl: 5 },
      prefetch: { amount: 3, gapMs: 60_000, percent: 20 },
      stale: { forMs: 7_200_000, verify: true },
      servfailMs: 0,
    });
  });

  it('takes snippets, imported files, quotes, several keys and ranges', () => {
    const configs = parse(
      '(common) {\n log . "{name} # {type}"\n}\na.example, B.example.:5353 10.8.0.0/14 {\n import common\n}\nimport more/*',
      {
        'more/stub': 'corp {\n forward . 10.0.0.1 [fd00::1]:5300 fd00::2\n}',
      },
    );
    expect(configs.map(({ zones, port }) => [port, ...zones])).to.deep.equal([
      [53, 'a.example', '8.10.in-addr.arpa', '9.10.in-addr.arpa', '10.10.in-addr.arpa', '11.10.in-addr.arpa'],
      [5353, 'b.example'],
      [53, 'corp'],
    ]);
    expect(configs[0]?.log?.format).to.equal('{name} # {type}');
    expect(configs[2]?.forwards[0]?.to).to.deep.equal(['10.0.0.1#53', 'fd00::1#5300', 'fd00::2#53']);
  });

  it('knows the reverse zones of prefixes of both families', () => {
    expect(reverseZones(parsePrefix('10.96.0.0/16'))).to.deep.equal(['96.10.in-addr.arpa']);
    expect(reverseZones(parsePrefix('10.0.0.0/7'))).to.deep.equal(['10.in-addr.arpa', '11.in-addr.arpa']);
    expect(reverseZones(parsePrefix('0.0.0.0/0'))).to.deep.equal(['in-addr.arpa']);
    expect(reverseZones(parsePrefix('fd00:10:96::/112'))).to.deep.equal([
      '0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa',
    ]);
  });

  it('never fails otherwise than with an explanation', () => {
    const word = fc.constantFrom(
      '.',
      '{',
      '}',
      '"',
      '\n',
      'forward',
      'cache',
      'kubernetes',
      'import',
      '(a)',
      'a',
      '1',
      '{$X}',
      '#',
      ':53',
      '/',
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (words) => {
        try {
          parse(words.join(' '));
        } catch (error) {
          expect(error).to.be.instanceOf(CorefileError);
          expect(String(error)).to.match(/Corefile(:\d+)?: /);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
// A real HAProxy with routes of ours, on ports of this machine: which backend answers what, which certificate is shown, and that no request is lost
// while endpoints and configuration change under load.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { expect } from 'chai';

import { Haproxy } from './haproxy.ts';
import { selfSignedCertificate } from './self-signed.ts';
import type { PathRoute, Routes } from './routes.ts';

const program = '/usr/sbin/haproxy';
const [httpPort, httpsPort] = [28080, 28443];

describe('HAProxy with routes of Ingresses', function () {
  this.timeout(60_000);
  const directory = mkdtempSync(join(tmpdir(), 'plumb-haproxy-'));
  const servers: Server[] = [];
  let haproxy: Haproxy;
  const addresses: string[] = [];

  before(async function () {
    if (!existsSync(program)) return this.skip();
    const defaultPem = await selfSignedCertificate();
    const options = {
      directory,
      httpPort,
      httpsPort,
      ipv6: false,
      output: 'ignore',
      defaultCertificate: () => defaultPem,
    } as const;
    haproxy = new Haproxy(program, options, (code) => {
      throw new Error(`HAProxy has ended with ${code}`);
    });
    for (const name of ['a', 'b', 'c', 'd']) {
      const server = createServer((_, response) => response.end(name));
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      addresses.push(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    }
  });
  after(async () => {
    await haproxy?.stop();
    for (const server of servers) server.close();
    rmSync(directory, { recursive: true });
  });

  it('looks up hosts before wildcards before every host, exact paths before the longest prefix', async () => {
    const [a = '', b = '', c = '', d = ''] = addresses;
    const backends = new Map([
      ['a', [a]],
      ['b', [b]],
      ['c', [c]],
      ['d', [d]],
      ['empty', []],
    ]);
    await haproxy.apply(
      routes({
        backends,
        paths: [
          route('one.example', 'Prefix', '/', 'a'),
          route('one.example', 'Prefix', '/foo', 'b'),
          route('one.example', 'Exact', '/foo', 'c'),
          route('one.example', 'Prefix', '/foo/bar', 'd'),
          route('*.wild.example', 'Prefix', '/w', 'a'),
          route('exact.wild.example', 'Exact', '/e', 'b'),
          route('', 'Prefix', '/any', 'd'),
          route('', 'Prefix', '/nobody', 'empty'),
          route('', 'Prefix', '/gone', '_unavailable'),
        ],
        hostDefaults: new Map([
          ['defaulted.example', 'c'],
          ['*.wild.example', 'd'],
        ]),
      }),
    );
    const table: [string, string, string][] = [
      ['one.example', '/', 'a'],
      ['ONE.example:1234', '/x', 'a'],
      ['one.example', '/foo', 'c'],
      ['one.example', '/foo?q=/foo/bar', 'c'],
      ['one.example', '/foo/', 'b'],
      ['one.example', '/foobar', 'a'],
      ['one.example', '/foo/barx', 'b'],
      ['one.example', '/foo/bar/baz', 'd'],
      ['x.wild.example', '/w', 'a'],
      ['x.wild.example', '/other', 'd'],
      ['x.y.wild.example', '/w', '404'],
      ['wild.example', '/w', '404'],
      ['exact.wild.example', '/e', 'b'],
      ['exact.wild.example', '/w', 'a'],
      ['defaulted.example', '/zzz', 'c'],
      ['unknown.example', '/any/thing', 'd'],
      ['one.example', '/any', 'a'],
      ['unknown.example', '/', '404'],
      ['unknown.example', '/nobody', '503'],
      ['unknown.example', '/gone', '503'],
    ];
    const answers = await Promise.all(table.map(async ([host, path]) => [host, path, await ask(host, path)]));
    expect(answers).to.deep.equal(table);
  });

  it('shows the certificate of the name, and the default one otherwise', async () => {
    const pem = pairFor('named.example');
    await haproxy.apply(routes({ certificates: [{ name: 'x_tls', pem, hosts: ['named.example', '*.more.example'] }] }));
    expect(await subject('named.example')).to.contain('named.example');
    expect(await subject('one.more.example')).to.contain('named.example');
    expect(await subject('other.example')).to.contain('ingress.invalid');
  });

  it('loses no request while endpoints come and go and the configuration changes', async () => {
    const [a = '', b = ''] = addresses;
    const state = (endpoints: string[], extra: number): Routes =>
      routes({
        backends: new Map([['web', endpoints]]),
        paths: [route('', 'Prefix', '/', 'web'), route(`h${extra}.example`, 'Prefix', '/', 'web')],
      });
    await haproxy.apply(state([a, b], 0));
    const counts = { answered: 0, failed: [] as string[] };
    const stop = new AbortController();
    const clients = [true, false].flatMap((keepAlive) =>
      Array.from({ length: 3 }, async () => {
        const agent = new Agent({ keepAlive, maxSockets: 1 });
        while (!stop.signal.aborted) {
          const answer = await ask('any.example', '/', agent).catch((error: Error) => error.message);
          if (answer === 'a' || answer === 'b') counts.answered += 1;
          else counts.failed.push(answer);
        }
        agent.destroy();
      }),
    );
    const kinds: string[] = [];
    for (let round = 0; round < 10; round += 1) {
      kinds.push(await haproxy.apply(state(round % 2 === 0 ? [a] : [a, b], Math.floor(round / 5))));
    }
    stop.abort();
    await Promise.all(clients);
    expect(counts.failed).to.deep.equal([]);
    expect(counts.answered).to.be.greaterThan(20);
    expect(kinds.filter((kind) => kind === 'reload')).to.have.length(1);
    expect(kinds.filter((kind) => kind === 'endpoints')).to.have.length(9);
  });
});

function routes(parts: Partial<Routes>): Routes {
  return {
    paths: [],
    hostDefaults: new Map(),
    backends: new Map(),
    certificates: [],
    served: [],
    problems: [],
    ...parts,
  };
}

function route(host: string, type: PathRoute['type'], path: string, backend: string): PathRoute {
  return { host, type, path, backend };
}

/** The body, or the status where it is not 200. */
function ask(host: string, path: string, agent?: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: httpPort, path, headers: { host }, ...(agent && { agent }) };
    get(options, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve(response.statusCode === 200 ? body : String(response.statusCode)));
    }).on('error', reject);
  });
}

function subject(servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: httpsPort, servername, rejectUnauthorized: false };
    const socket = connect(options, () => {
      const { raw } = socket.getPeerCertificate();
      socket.end();
      resolve(new X509Certificate(raw).subject);
    });
    socket.on('error', reject);
  });
}

function pairFor(name: string): string {
  const out = execFileSync('sh', [
    '-c',
    `d=$(mktemp -d); openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -keyout $d/k -out $d/c 2>/dev/null; cat $d/k $d/c; rm -r $d`,
  ]);
  return out.toString();
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { writeLayout } from './layout-archive.ts';
import { contentTree } from './layers.ts';
import { parseChallenge, parseReference, pushImage } from './registry.ts';

describe('boot/images/registry', () => {
  let directory: string;
  let server: Server;
  let host: string;
  const stored = new Map<string, Buffer>();
  const requests: string[] = [];

  /** A registry of the distribution specification, with tokens, as far as a push goes. */
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'plumb-registry-'));
    server = createServer((request, response) => {
      void body(request).then((bytes) => {
        const url = new URL(request.url ?? '', `http://${host}`);
        requests.push(`${request.method ?? ''} ${url.pathname.replace(/sha256:\w+/, 'DIGEST')}`);
        const answer = (status: number, headers: Record<string, string> = {}): void =>
          void response.writeHead(status, headers).end();
        if (url.pathname === '/token') {
          response.end(
            JSON.stringify({
              token: url.searchParams.get('scope') === 'repository:team/probe:pull,push' ? 't' : 'wrong',
            }),
          );
        } else if (request.headers.authorization !== 'Bearer t') {
          answer(401, { 'www-authenticate': `Bearer realm="http://${host}/token",service="registry"` });
        } else if (request.method === 'HEAD') answer(stored.has(url.pathname.split('/').at(-1) ?? '') ? 200 : 404);
        else if (request.method === 'POST') answer(202, { location: '/upload/1?state=x' });
        else if (url.pathname === '/upload/1') {
          const digest = url.searchParams.get('digest') ?? '';
          const isRight = digest === `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
          if (isRight && url.searchParams.get('state') === 'x') stored.set(digest, bytes);
          answer(isRight ? 201 : 400);
        } else {
          stored.set('manifest', bytes);
          answer(201);
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });

  it('gets a token, uploads what is missing, then the manifest; a second time only the manifest', async () => {
    const spec = {
      reference: 'plumbline.local/probe:1',
      layers: [contentTree({ '/a': 'a' })],
      entrypoint: ['/a'],
      user: '1',
    };
    const [image] = await writeLayout([spec], directory, { compress: true });
    if (image === undefined) throw new Error('no image');
    const push = { image, directory, target: parseReference(`${host}/team/probe:1`), insecure: false };
    await pushImage(push);
    for (const { digest } of [image.config, ...image.layers]) expect(stored.has(digest)).to.equal(true);
    expect(JSON.parse(stored.get('manifest')?.toString() ?? '')).to.have.property('schemaVersion', 2);
    expect(requests).to.include('PUT /v2/team/probe/manifests/1');
    requests.length = 0;
    await pushImage(push);
    expect(requests.filter((line) => line.startsWith('POST'))).to.deep.equal([]);
  });

  it('says how to log in, and how to reach a registry without TLS', async () => {
    const image = { reference: 'x', manifest: none, config: none, layers: [] };
    const wrong = pushImage({ image, directory, target: parseReference(`${host}/other/probe:1`), insecure: false });
    const denied = await wrong.catch((error: unknown) => error);
    expect(denied).to.be.an('error').with.property('message').that.includes('docker login');
    const closed = pushImage({ image, directory, target: parseReference('127.0.0.1:1/a/b:1'), insecure: false });
    const unreachable = await closed.catch((error: unknown) => error);
    expect(unreachable).to.be.an('error').with.property('message').that.includes('--insecure');
  });

  it('reads references and challenges', () => {
    expect(parseReference('registry.example.com/team/probe:1.2')).to.deep.equal({
      host: 'registry.example.com',
      repository: 'team/probe',
      tag: '1.2',
    });
    expect(parseReference('localhost:5000/probe')).to.deep.include({ host: 'localhost:5000', tag: 'latest' });
    for (const bad of ['probe', 'team/probe:1', 'reg.io/Probe:1', 'https://reg.io/probe'])
      expect(() => parseReference(bad)).to.throw('names no registry');
    expect(parseChallenge('Bearer realm="https://a/t",service="s"')).to.deep.equal({
      realm: 'https://a/t',
      service: 's',
    });
  });
});

const none = { mediaType: '', digest: 'sha256:0', size: 0 };

async function body(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

// SPDX-License-Identifier: Apache-2.0
// The client and the informer against a real HTTP/2 server of few lines: what is sent, what is retried, what survives a
// lost connection.
import { expect } from 'chai';
import { createServer } from 'node:http2';
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { ApiError, Client, isAlreadyExists, isConflict, isNotFound } from './client.ts';
import { Informer } from './informer.ts';
import type { Change } from './informer.ts';
import { readKubeconfig } from './kubeconfig.ts';
import { resources } from './resources.ts';
import type { ConfigMap } from './api-types.ts';

interface Seen {
  method: string;
  path: string;
  type: string | undefined;
  authorization: string | undefined;
  body: unknown;
}

class TestServer {
  readonly seen: Seen[] = [];
  answer: (request: Seen, stream: ServerHttp2Stream) => void = () => {};
  readonly sessions = new Set<ServerHttp2Session>();
  readonly #server: Http2Server = createServer({ settings: { maxConcurrentStreams: 5 } });

  async start(): Promise<Client> {
    this.#server.on('session', (session) => {
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session));
    });
    this.#server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('error', () => {});
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const request = {
          method: String(headers[':method']),
          path: String(headers[':path']),
          type: headers['content-type'],
          authorization: headers['authorization'],
          body: text === '' ? undefined : (JSON.parse(text) as unknown),
        };
        this.seen.push(request);
        this.answer(request, stream);
      });
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const { port } = this.#server.address() as AddressInfo;
    const server = `http://127.0.0.1:${port}`;
    return new Client({ server, tls: () => ({}), token: () => 'secret' });
  }

  stop(): void {
    for (const session of this.sessions) session.destroy();
    this.#server.close();
  }
}

function reply(stream: ServerHttp2Stream, status: number, body: unknown, headers: Record<string, string> = {}): void {
  stream.respond({ ':status': status, 'content-type': 'application/json', ...headers });
  stream.end(JSON.stringify(body));
}

function failure(code: number, reason: string): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: `it is ${reason}` };
}

describe('machinery/client', () => {
  let server: TestServer;
  let client: Client;

  beforeEach(async () => {
    server = new TestServer();
    client = await server.start();
  });

  afterEach(() => {
    client.close();
    server.stop();
  });

  it('sends each verb with its path, content type and credentials', async () => {
    server.answer = (_, stream) => reply(stream, 200, { items: [], metadata: { resourceVersion: '7' } });
    await client.list(resources.pods, { namespace: 'a', labelSelector: 'x in (y)', limit: 5 });
    await client.create(resources.deployments, { metadata: { name: 'd', namespace: 'a' } });
    await client.create(
      resources.pods,
      { target: { name: 'n' } },
      { namespace: 'a', name: 'p', subresource: 'binding' },
    );
    await client.update(resources.nodes, { metadata: { name: 'n' } }, { subresource: 'status' });
    await client.patch(resources.pods, 'p', {
      namespace: 'a',
      type: 'apply',
      body: {},
      fieldManager: 'me',
      force: true,
    });
    await client.delete(resources.pods, 'p', { namespace: 'a', uid: 'u', gracePeriodSeconds: 0 });
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).to.deep.equal([
      'GET /api/v1/namespaces/a/pods?labelSelector=x+in+%28y%29&limit=5',
      'POST /apis/apps/v1/namespaces/a/deployments',
      'POST /api/v1/namespaces/a/pods/p/binding',
      'PUT /api/v1/nodes/n/status',
      'PATCH /api/v1/namespaces/a/pods/p?fieldManager=me&force=true',
      'DELETE /api/v1/namespaces/a/pods/p',
    ]);
    expect(server.seen[1]?.body).to.include({ kind: 'Deployment', apiVersion: 'apps/v1' });
    expect(server.seen[4]?.type).to.equal('application/apply-patch+yaml');
    expect(server.seen[5]?.body).to.deep.include({ gracePeriodSeconds: 0, preconditions: { uid: 'u' } });
    expect(new Set(server.seen.map(({ authorization }) => authorization))).to.deep.equal(new Set(['Bearer secret']));
  });

  it('turns refusals into ApiError and tells them apart', async () => {
    const errors: unknown[] = [];
    for (const [code, reason] of [
      [404, 'NotFound'],
      [409, 'Conflict'],
      [409, 'AlreadyExists'],
    ] as const) {
      server.answer = (_, stream) => reply(stream, code, failure(code, reason));
      errors.push(await client.get(resources.nodes, 'n').catch((error: unknown) => error));
    }
    expect(errors.map((error) => [isNotFound(error), isConflict(error), isAlreadyExists(error)])).to.deep.equal([
      [true, false, false],
      [false, true, false],
      [false, false, true],
    ]);
    server.answer = (_, stream) => stream.respond({ ':status': 502 }, { endStream: true });
    const error = await client.get(resources.nodes, 'n').catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(ApiError).with.property('code', 502);
  });

  it('waits as told after 429 and sends again, and repeats reads over a lost connection', async () => {
    let answers = 0;
    server.answer = (_, stream) => {
      answers++;
      if (answers === 1) reply(stream, 429, failure(429, 'TooManyRequests'), { 'retry-after': '0' });
      else if (answers === 2) stream.session?.destroy();
      else reply(stream, 200, { metadata: { name: 'n' } });
    };
    expect(await client.get(resources.nodes, 'n')).to.deep.equal({ metadata: { name: 'n' } });
    expect(answers).to.equal(3);
  });

  it('does not repeat a write that the server may have acted on', async () => {
    server.answer = (_, stream) => stream.session?.destroy();
    const error = await client.create(resources.nodes, { metadata: { name: 'n' } }).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(Error);
    expect(server.seen).to.have.length(1);
  });

  it('opens a further connection when watches have used up the streams of one', async () => {
    const stop = new AbortController();
    server.answer = (request, stream) => {
      if (request.path.includes('watch=true')) stream.respond({ ':status': 200 });
      else reply(stream, 200, { metadata: { name: 'n' } });
    };
    const watches = Array.from({ length: 12 }, () => client.watch(resources.pods, {}, () => {}, stop.signal));
    while (server.seen.length < 12) await new Promise((resolve) => setImmediate(resolve));
    await client.get(resources.nodes, 'n');
    expect(server.sessions.size).to.equal(3);
    stop.abort();
    await Promise.all(watches);
  });

  it('delivers watch events however they are cut, and rejects with the Status of an ERROR event', async () => {
    const lines =
      `${JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'ä€😀' } } })}\n` +
      `${JSON.stringify({ type: 'ERROR', object: failure(410, 'Expired') })}\n`;
    server.answer = async (_, stream) => {
      stream.respond({ ':status': 200 });
      for (const byte of Buffer.from(lines)) {
        stream.write(Buffer.from([byte]));
        if (byte > 127) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const names: string[] = [];
    const error = await client
      .watch<ConfigMap>(
        resources.configMaps,
        {},
        ({ object }) => names.push(object.metadata.name ?? ''),
        AbortSignal.timeout(5000),
      )
      .catch((caught: unknown) => caught);
    expect(names).to.deep.equal(['ä€😀']);
    expect(error).to.be.instanceOf(ApiError).with.property('reason', 'Expired');
  });

  it('keeps an informer true through a lost connection and an expired version', async () => {
    const object = (name: string, version: number, uid = name): ConfigMap => ({
      metadata: { name, namespace: 'a', uid, resourceVersion: String(version), managedFields: [{}] },
    });
    let lists = 0;
    let watches = 0;
    server.answer = (request, stream) => {
      if (!request.path.includes('watch=true')) {
        lists++;
        const items =
          lists === 1 ? [object('one', 1), object('two', 2)] : [object('two', 9, 'other'), object('three', 8)];
        reply(stream, 200, { items, metadata: { resourceVersion: lists === 1 ? '5' : '9' } });
        return;
      }
      watches++;
      stream.respond({ ':status': 200 });
      if (watches === 1) {
        stream.write(`${JSON.stringify({ type: 'MODIFIED', object: object('one', 6) })}\n`);
        setTimeout(() => stream.session?.destroy(), 20);
      } else if (watches === 2) {
        stream.end(`${JSON.stringify({ type: 'ERROR', object: failure(410, 'Expired') })}\n`);
      } else stream.write(`${JSON.stringify({ type: 'DELETED', object: object('three', 10) })}\n`);
    };
    const informer = new Informer<ConfigMap>(client, resources.configMaps, {
      indexers: { first: ({ metadata }) => [metadata.name?.[0] ?? ''] },
    });
    const changes: string[] = [];
    const stop = new AbortController();
    const done = new Promise<void>((resolve) => {
      informer.onChange(({ type, object: changed }: Change<ConfigMap>) => {
        changes.push(`${type} ${changed.metadata.name}@${changed.metadata.resourceVersion}`);
        if (type === 'deleted' && changed.metadata.name === 'three') resolve();
      });
    });
    await informer.start(stop.signal);
    expect(informer.synced).to.equal(true);
    expect(informer.get('one', 'a')).to.include({ kind: 'ConfigMap', apiVersion: 'v1' });
    expect(informer.get('one', 'a')?.metadata).not.to.have.property('managedFields');
    await done;
    stop.abort();
    expect(changes).to.deep.equal([
      'added one@1',
      'added two@2',
      'updated one@6',
      'deleted two@2',
      'added two@9',
      'added three@8',
      'deleted one@6',
      'deleted three@10',
    ]);
    expect(server.seen[2]?.path).to.include('resourceVersion=6');
    expect(informer.list('a').map(({ metadata }) => metadata.name)).to.deep.equal(['two']);
    expect(informer.byIndex('first', 't')).to.have.length(1);
  });
});

describe('machinery/kubeconfig', () => {
  const config = (user: string): string => `
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: 'https://10.0.0.1:6443/', certificate-authority-data: ${btoa('CA')}}}]
users: [{name: u, user: {${user}}}]
`;

  it('reads the current context, with base64 data', () => {
    const endpoint = readKubeconfig(
      '/x/config',
      config(`client-certificate-data: ${btoa('C')}, client-key-data: ${btoa('K')}`),
    );
    expect(endpoint.server).to.equal('https://10.0.0.1:6443');
    expect(endpoint.tls()).to.deep.equal({ ca: Buffer.from('CA'), cert: Buffer.from('C'), key: Buffer.from('K') });
    expect(readKubeconfig('/x/config', config('token: abc')).token()).to.equal('abc');
  });

  it('says what is wrong with a file', () => {
    expect(() => readKubeconfig('/x/config', 'a: 1')).to.throw('/x/config has no current-context');
    expect(() => readKubeconfig('/x/config', config('exec: {}'))).to.throw('user "u" has exec');
    expect(() => readKubeconfig('/x/config', '[]')).to.throw('is not a YAML mapping');
  });
});

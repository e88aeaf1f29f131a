// SPDX-License-Identifier: Apache-2.0
// The API's promises to controllers, on a real etcd: watches, consistent pages, optimistic concurrency, deletion, and what
// happens while etcd or the server is away.
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { parse } from 'yaml';
import type { KubeObject } from '../resources/definition.ts';
import type { ControlPlane } from './e2e-control-plane.ts';
import { startControlPlane } from './e2e-control-plane.ts';

interface Answer {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: KubeObject & { readonly message?: string; readonly items?: KubeObject[]; readonly reason?: string };
}

interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject & { readonly code?: number };
}

interface Request {
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Record<string, string>;
}

const maps = '/api/v1/namespaces/default/configmaps';

describe('the API', function () {
  this.timeout(60_000);
  let plane: ControlPlane;
  let session: http2.ClientHttp2Session;

  function connect(): http2.ClientHttp2Session {
    const config = parse(readFileSync(plane.kubeconfig, 'utf8')) as {
      clusters: { cluster: Record<string, string> }[];
      users: { user: Record<string, string> }[];
    };
    const text = (value: string | undefined) => Buffer.from(value ?? '', 'base64');
    const user = config.users[0]?.user ?? {};
    const created = http2.connect(plane.server, {
      ca: text(config.clusters[0]?.cluster['certificate-authority-data']),
      cert: text(user['client-certificate-data']),
      key: text(user['client-key-data']),
    });
    created.on('error', () => {});
    return created;
  }

  before(async () => {
    plane = await startControlPlane();
    session = connect();
  });
  after(async () => {
    session?.destroy();
    await plane?.stop();
  });

  function open(method: string, path: string, request: Request = {}): http2.ClientHttp2Stream {
    const headers = {
      ':method': method,
      ':path': path,
      'content-type': request.type ?? 'application/json',
      'user-agent': 'e2e/1.0',
      ...request.headers,
    };
    const stream = session.request(headers, { endStream: false });
    stream.end(request.body === undefined ? undefined : JSON.stringify(request.body));
    return stream;
  }

  async function call(method: string, path: string, request: Request = {}): Promise<Answer> {
    const stream = open(method, path, request);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    let headers: http2.IncomingHttpHeaders = {};
    let text = '';
    stream.on('response', (received) => (headers = received));
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    stream.on('error', reject);
    stream.on('end', () => {
      const status = Number(headers[':status']);
      resolve({
        status,
        headers,
        body: (text.startsWith('{') ? JSON.parse(text) : { message: text }) as Answer['body'],
      });
    });
    return promise;
  }

  /** Watches until `enough` says so. */
  async function watch(
    path: string,
    enough: (events: WatchEvent[]) => boolean,
    act?: () => Promise<unknown>,
  ): Promise<WatchEvent[]> {
    const stream = open('GET', `${path}${path.includes('?') ? '&' : '?'}watch=true`);
    const events: WatchEvent[] = [];
    let rest = '';
    const { promise, resolve, reject } = Promise.withResolvers<WatchEvent[]>();
    const timer = setTimeout(() => reject(new Error(`only saw ${JSON.stringify(events)}`)), 5_000);
    stream.on('error', reject);
    stream.on('end', () => resolve(events));
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      events.push(...lines.map((line) => JSON.parse(line) as WatchEvent));
      if (enough(events)) {
        resolve(events);
      }
    });
    await new Promise((answered) => stream.once('response', answered));
    await act?.();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stream.close();
    }
  }

  const map = (name: string, more: object = {}) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, ...more },
  });
  const create = (name: string, more: object = {}) => call('POST', maps, { body: map(name, more) });
  const label = (name: string, labels: object) =>
    call('PATCH', `${maps}/${name}`, { body: { metadata: { labels } }, type: 'application/merge-patch+json' });

  it('streams changes that a selector sees, leaving ones as deletions', async () => {
    const { body } = await create('seen', { labels: { watch: 'a' } });
    const events = await watch(
      `${maps}?labelSelector=watch%3Da&resourceVersion=${body.metadata.resourceVersion}`,
      (seen) => seen.length === 3,
      async () => {
        await label('seen', { other: 'x' });
        await label('seen', { watch: 'b' });
        await label('seen', { watch: 'a' });
      },
    );
    expect(events.map(({ type }) => type)).to.deep.equal(['MODIFIED', 'DELETED', 'ADDED']);
    expect(events[1]?.object.metadata.labels).to.deep.equal({ watch: 'a', other: 'x' });
    expect(Number(events[1]?.object.metadata.resourceVersion)).to.be.lessThan(
      Number(events[2]?.object.metadata.resourceVersion),
    );
  });

  it('sends the present state and says when it has', async () => {
    const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const events = await watch(`${maps}?${query}`, (seen) => seen.some(({ type }) => type === 'BOOKMARK'));
    expect(events.at(-1)?.object.metadata.annotations).to.deep.equal({ 'k8s.io/initial-events-end': 'true' });
    const refused = await call('GET', `${maps}?watch=true&sendInitialEvents=true`);
    expect(refused.status).to.equal(422);
  });

  it('pages through one state although it changes', async () => {
    await Promise.all(Array.from({ length: 5 }, (_, at) => create(`page-${at}`, { labels: { page: 'y' } })));
    const first = await call('GET', `${maps}?labelSelector=page%3Dy&limit=2`);
    expect(first.body.items?.map(({ metadata }) => metadata.name)).to.deep.equal(['page-0', 'page-1']);
    await call('DELETE', `${maps}/page-3`);
    await create('page-2b', { labels: { page: 'y' } });
    const token = (first.body.metadata as { continue?: string }).continue ?? '';
    const rest = await call('GET', `${maps}?labelSelector=page%3Dy&limit=10&continue=${token}`);
    expect(rest.body.items?.map(({ metadata }) => metadata.name)).to.deep.equal(['page-2', 'page-3', 'page-4']);
    expect(rest.body.metadata.resourceVersion).to.equal(first.body.metadata.resourceVersion);
    expect((await call('GET', `${maps}?limit=1&continue=nonsense`)).status).to.equal(400);
  });

  it('lets only one of two writers win', async () => {
    const { body } = await create('fought');
    const write = (value: string) => call('PUT', `${maps}/fought`, { body: { ...body, data: { value } } });
    const answers = await Promise.all([write('1'), write('2')]);
    expect(answers.map(({ status }) => status).toSorted()).to.deep.equal([200, 409]);
    const lost = answers.find(({ status }) => status === 409);
    expect(lost?.body.message).to.equal(
      'Operation cannot be fulfilled on configmaps "fought": the object has been modified; please apply your changes to the latest version and try again',
    );
    const many = await Promise.all(Array.from({ length: 10 }, (_, at) => label('fought', { [`n${at}`]: 'x' })));
    expect(new Set(many.map(({ status }) => status))).to.deep.equal(new Set([200]));
    const now = await call('GET', `${maps}/fought`);
    expect(Object.keys(now.body.metadata.labels ?? {})).to.have.length(10);
  });

  it('makes names, holds deleted objects for their finalizers, honours preconditions', async () => {
    const { body } = await call('POST', maps, {
      body: { ...map(''), metadata: { generateName: 'made-', finalizers: ['e2e.io/hold'] } },
    });
    const name = body.metadata.name ?? '';
    expect(name).to.match(/^made-[a-z0-9]{5}$/);
    const wrong = await call('DELETE', `${maps}/${name}`, { body: { preconditions: { uid: 'other' } } });
    expect(wrong.status).to.equal(409);
    const held = await call('DELETE', `${maps}/${name}`, { body: { propagationPolicy: 'Foreground' } });
    expect(held.body.metadata.deletionTimestamp).to.be.a('string');
    expect(held.body.metadata.finalizers).to.deep.equal(['e2e.io/hold', 'foregroundDeletion']);
    await call('PATCH', `${maps}/${name}`, {
      body: { metadata: { finalizers: null } },
      type: 'application/merge-patch+json',
    });
    expect((await call('GET', `${maps}/${name}`)).status).to.equal(404);
  });

  it('tries without doing, and refuses what it does not know', async () => {
    expect((await call('POST', `${maps}?dryRun=All`, { body: map('dry') })).status).to.equal(201);
    expect((await call('GET', `${maps}/dry`)).status).to.equal(404);
    const typo = { ...map('typo'), datas: {} };
    const warned = await call('POST', `${maps}?fieldValidation=Warn&dryRun=All`, { body: typo });
    expect(warned.headers['warning']).to.equal('299 - "unknown field \\"datas\\""');
    expect((await call('POST', `${maps}?fieldValidation=Strict`, { body: typo })).status).to.equal(400);
    const apply = { body: typo, type: 'application/apply-patch+yaml' };
    const applied = await call('PATCH', `${maps}/typo?fieldManager=me&fieldValidation=Ignore`, apply);
    expect(applied.body['message']).to.include('v1, Kind=ConfigMap): .datas: field not declared in schema');
    expect((await call('POST', maps, { body: map('x'), type: 'text/plain' })).status).to.equal(415);
    expect((await call('GET', maps, { headers: { accept: 'text/csv' } })).status).to.equal(406);
    expect((await call('GET', '/api/v1/nonsense')).status).to.equal(404);
    expect((await call('PATCH', '/version')).status).to.equal(405);
    expect((await call('GET', `${maps}?resourceVersion=99999999`)).body.reason).to.equal('Timeout');
  });

  it('selects the same events by the fields of either group', async () => {
    const path = '/namespaces/default/events';
    const body = {
      ...map('told'),
      kind: 'Event',
      involvedObject: { kind: 'Pod', name: 'p', namespace: 'default' },
      reportingComponent: 'me',
    };
    expect((await call('POST', `/api/v1${path}`, { body })).status).to.equal(201);
    for (const query of [
      `/api/v1${path}?fieldSelector=source%3Dme`,
      `/apis/events.k8s.io/v1${path}?fieldSelector=reportingController%3Dme,regarding.name%3Dp`,
      `/api/v1${path}?fieldSelector=involvedObject.name%3Dp`,
    ]) {
      expect((await call('GET', query)).body.items?.map(({ metadata }) => metadata.name)).to.deep.equal(['told']);
    }
  });

  it('counts what is wanted of a pod as generation, which a binding carries out', async () => {
    const pods = '/api/v1/namespaces/default/pods';
    const pod = (cpu: string): object => ({
      ...map('counted'),
      kind: 'Pod',
      spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }] },
    });
    const account = { ...map('default'), kind: 'ServiceAccount' };
    await call('POST', '/api/v1/namespaces/default/serviceaccounts', { body: account });
    expect((await call('POST', pods, { body: pod('1') })).body.metadata.generation).to.equal(1);
    const binding = { ...map('counted'), kind: 'Binding', target: { kind: 'Node', name: 'n' } };
    expect((await call('POST', `${pods}/counted/binding`, { body: binding })).status).to.equal(201);
    const { body: bound } = await call('GET', `${pods}/counted`);
    expect(bound.metadata.generation).to.equal(1);
    const resize = { spec: { containers: [{ name: 'c', resources: { requests: { cpu: '2' } } }] } };
    const type = 'application/strategic-merge-patch+json';
    const { body: resized } = await call('PATCH', `${pods}/counted/resize`, { body: resize, type });
    expect(resized.metadata.generation).to.equal(2);
  });

  it('shows tables and bare metadata, in lists and watches', async () => {
    const table = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };
    const list = await call('GET', `${maps}?limit=1`, { headers: table });
    expect(list.body.kind).to.equal('Table');
    expect((list.body['columnDefinitions'] as { name: string }[]).map(({ name }) => name)).to.deep.equal([
      'Name',
      'Data',
      'Age',
    ]);
    const bare = { accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' };
    const partial = await call('GET', `${maps}?limit=1`, { headers: bare });
    expect(partial.body.kind).to.equal('PartialObjectMetadataList');
    expect(Object.keys(partial.body.items?.[0] ?? {})).to.have.members(['kind', 'apiVersion', 'metadata']);
  });

  it('outlives etcd: reads from memory meanwhile, writes and watches again after', async () => {
    const { body } = await create('before-the-fall');
    await plane.stopEtcd();
    const meanwhile = await call('GET', `${maps}/before-the-fall?resourceVersion=0`);
    expect(meanwhile.status).to.equal(200);
    expect((await create('during')).status).to.equal(503);
    expect((await call('GET', '/readyz')).status).to.equal(500);
    const events = await watch(
      `${maps}?fieldSelector=metadata.name%3Dafter&resourceVersion=${body.metadata.resourceVersion}`,
      (seen) => seen.length === 1,
      async () => {
        plane.startEtcd();
        for (let status = 503; status !== 201; await delay(50)) {
          ({ status } = await create('after'));
        }
      },
    );
    expect(events[0]?.type).to.equal('ADDED');
  });

  it('goes on after a restart where it was', async () => {
    const { body } = await create('kept');
    session.destroy();
    await plane.restartServer();
    session = connect();
    const again = await call('GET', `${maps}/kept`);
    expect(again.body.metadata.resourceVersion).to.equal(body.metadata.resourceVersion);
    const events = await watch(
      `${maps}?resourceVersion=${again.body.metadata.resourceVersion}`,
      (seen) => seen.length > 0,
      () => create('new'),
    );
    expect(events.at(-1)?.object.metadata.name).to.equal('new');
  });

  it('sends clients with too old a version back to a list', async () => {
    const events = await watch(`${maps}?resourceVersion=1`, (seen) => seen.length === 1);
    expect(events[0]?.type).to.equal('ERROR');
    expect(events[0]?.object.code).to.equal(410);
  });
});

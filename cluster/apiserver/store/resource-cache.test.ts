// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Entry } from './entry.ts';
import { objectKey, parseKey } from './keys.ts';
import { ResourceCache } from './resource-cache.ts';
import type { Cursor } from './resource-cache.ts';

function entry(namespace: string, name: string, revision: number): Entry {
  const object = { apiVersion: 'v1', kind: 'X', metadata: { namespace, name, resourceVersion: String(revision) } };
  return { key: objectKey('xs', namespace, name), namespace, name, revision, object, bytes: Buffer.from('{}') };
}

function drain(cache: ResourceCache, cursor: Cursor): string[] {
  const seen: string[] = [];
  for (let event = cache.read(cursor); event !== 'end'; event = cache.read(cursor)) {
    seen.push(event === 'lost' ? 'lost' : `${event.type} ${event.entry.name}@${event.revision}`);
    if (event === 'lost') {
      break;
    }
  }
  return seen;
}

describe('ResourceCache', () => {
  it('lists in the order of etcd keys', () => {
    const cache = new ResourceCache(1);
    for (const [at, [namespace, name]] of [
      ['b', 'x'],
      ['a', 'z'],
      ['a-b', 'y'],
      ['a', 'b'],
    ].entries()) {
      cache.put(entry(namespace ?? '', name ?? '', at + 2));
    }
    expect(cache.list().map(({ key }) => key)).to.deep.equal([
      '/registry/xs/a-b/y',
      '/registry/xs/a/b',
      '/registry/xs/a/z',
      '/registry/xs/b/x',
    ]);
    cache.remove('a', 'b', (previous) => ({ ...previous, revision: 9 }));
    expect(cache.list('a').map(({ name }) => name)).to.deep.equal(['z']);
    expect(cache.size).to.equal(3);
  });

  it('replays the changes behind a revision', () => {
    const cache = new ResourceCache(10);
    cache.put(entry('a', 'x', 11));
    cache.put(entry('a', 'x', 12));
    cache.remove('a', 'x', (previous) => ({ ...previous, revision: 13 }));
    expect(drain(cache, cache.cursor(11) as Cursor)).to.deep.equal(['MODIFIED x@12', 'DELETED x@13']);
    expect(drain(cache, cache.cursor(13) as Cursor)).to.deep.equal([]);
    expect(cache.cursor(9)).to.equal(undefined);
  });

  it('drops watchers that fall behind its window, and keeps the window bounded', () => {
    const cache = new ResourceCache(0);
    const slow = cache.cursor(0) as Cursor;
    for (let revision = 1; revision <= 15_000; revision += 1) {
      cache.put(entry('a', 'x', revision));
    }
    expect(drain(cache, slow)).to.deep.equal(['lost']);
    expect(cache.oldestRevision).to.be.greaterThan(4_000);
    expect(drain(cache, cache.cursor(cache.oldestRevision) as Cursor)).to.have.length(15_000 - cache.oldestRevision);
  });
});

describe('parseKey', () => {
  it('reads back what objectKey writes, and nothing else', () => {
    for (const [resource, namespace] of [
      ['pods', 'a'],
      ['nodes', ''],
      ['jobs.batch', 'a'],
      ['widgets.e.io', ''],
    ] as const) {
      expect(parseKey(objectKey(resource, namespace, 'n'))).to.deep.equal({ resource, namespace, name: 'n' });
    }
    expect(parseKey('/other/pods/a/b')).to.equal(undefined);
    expect(parseKey('/registry/pods/a/b/c')).to.equal(undefined);
  });
});

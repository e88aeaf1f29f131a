// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { requestInfo } from './request-info.ts';

function read(method: string, url: string): Record<string, unknown> {
  const [path = '', query = ''] = url.split('?');
  return { ...requestInfo(method, path, new URLSearchParams(query)) };
}

describe('requestInfo', () => {
  const pods = { kind: 'resource', group: '', version: 'v1', resource: 'pods', subresource: '', rest: '' };

  it('tells verbs apart by method, name and query', () => {
    expect(read('GET', '/api/v1/pods')).to.deep.equal({ ...pods, verb: 'list', namespace: '', name: '' });
    expect(read('GET', '/api/v1/namespaces/a/pods?watch=1')).to.include({ verb: 'watch', namespace: 'a' });
    expect(read('GET', '/api/v1/namespaces/a/pods/b')).to.include({ verb: 'get', name: 'b' });
    expect(read('DELETE', '/api/v1/namespaces/a/pods')).to.include({ verb: 'deletecollection' });
    expect(read('POST', '/apis/apps/v1/namespaces/a/deployments')).to.include({ verb: 'create', group: 'apps' });
    expect(read('GET', '/api/v1/watch/pods')).to.include({ verb: 'watch', resource: 'pods' });
  });

  it('sees a list of one name as a request for that name', () => {
    expect(read('GET', '/api/v1/secrets?watch=true&fieldSelector=metadata.name%3Dx')).to.include({
      verb: 'watch',
      name: 'x',
    });
    expect(read('GET', '/api/v1/secrets?fieldSelector=metadata.name!%3Dx')).to.include({ name: '' });
  });

  it('knows the namespace object from what is in it', () => {
    expect(read('GET', '/api/v1/namespaces/a')).to.include({ resource: 'namespaces', name: 'a', namespace: 'a' });
    expect(read('PUT', '/api/v1/namespaces/a/finalize')).to.include({
      resource: 'namespaces',
      subresource: 'finalize',
    });
    expect(read('GET', '/api/v1/namespaces/a/status')).to.include({ resource: 'namespaces', subresource: 'status' });
  });

  it('keeps the rest of a proxied path', () => {
    const info = read('GET', '/api/v1/namespaces/a/services/https:web:443/proxy/x/y');
    expect(info).to.include({ name: 'https:web:443', subresource: 'proxy', rest: 'x/y' });
  });

  it('leaves everything else a path', () => {
    for (const path of ['/', '/api', '/api/v1', '/api/v1/', '/apis/apps/v1', '/healthz/etcd', '/openapi/v2']) {
      expect(read('GET', path)).to.deep.equal({ kind: 'path', verb: 'get', path });
    }
  });

  it('takes any text without failing', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (path, query) => {
        requestInfo('GET', `/api${path}`, new URLSearchParams(query));
      }),
      { numRuns: 500 },
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseSegment, proxyPrefix } from './proxies.ts';

describe('the proxy subresource', () => {
  it('finds where the path of the other end begins, whatever things are called', () => {
    const service = '/api/v1/namespaces/proxy-1/services/proxy-service:http/proxy';
    for (const prefix of [
      service,
      '/api/v1/namespaces/proxy/pods/proxy/proxy',
      '/api/v1/nodes/proxy/proxy',
      '/api/v1/namespaces/a/services/https:web:443/proxy',
    ]) {
      for (const rest of ['', '/', '/proxy', '/a/proxy/b']) expect(proxyPrefix(`${prefix}${rest}`)).to.equal(prefix);
    }
  });

  it('reads scheme, name and port', () => {
    expect(parseSegment('web')).to.deep.equal({ scheme: 'http', name: 'web', port: '' });
    expect(parseSegment('web:http')).to.deep.equal({ scheme: 'http', name: 'web', port: 'http' });
    expect(parseSegment('https:web:')).to.deep.equal({ scheme: 'https', name: 'web', port: '' });
    expect(() => parseSegment('ftp:web:1')).to.throw('invalid service request');
  });
});

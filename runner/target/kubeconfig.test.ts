// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RequestContext } from '@kubernetes/client-node';
import { expect } from 'chai';
import { kubeconfigSource, loadTarget } from './kubeconfig.ts';
import { reachRemedy } from './preflight.ts';

let home: string;
beforeEach(() => (home = mkdtempSync(join(tmpdir(), 'plumb-home-'))));
afterEach(() => rmSync(home, { recursive: true, force: true }));

const content = (server: string): string =>
  `apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: k, cluster: {server: "${server}"}}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: a, context: {cluster: k, user: u}}]\n`;

describe('kubeconfigSource', () => {
  it('takes the flag, then KUBECONFIG, then ~/.kube/config, then the embedded cluster', () => {
    expect(kubeconfigSource(undefined, { HOME: home })).to.deep.equal({ kind: 'embedded' });
    mkdirSync(join(home, '.kube'));
    writeFileSync(join(home, '.kube/config'), '');
    const customary = { kind: 'files', paths: [join(home, '.kube/config')], origin: '~/.kube/config' };
    expect(kubeconfigSource(undefined, { HOME: home, KUBECONFIG: '' })).to.deep.equal(customary);
    expect(kubeconfigSource(undefined, { HOME: home, KUBECONFIG: '/a:/b:' })).to.deep.equal({
      kind: 'files',
      paths: ['/a', '/b'],
      origin: '$KUBECONFIG',
    });
    expect(kubeconfigSource('/c', { HOME: home, KUBECONFIG: '/a' })).to.deep.equal({
      kind: 'files',
      paths: ['/c'],
      origin: '--kubeconfig',
    });
  });
});

describe('loadTarget', () => {
  it('says server, context and source, and passes over missing files of a list as kubectl does', () => {
    const path = join(home, 'config');
    writeFileSync(path, content('https://10.0.0.1:6443'));
    const target = loadTarget([join(home, 'missing'), path], { origin: '$KUBECONFIG' });
    expect(target).to.include({ server: 'https://10.0.0.1:6443', context: 'a', embedded: false });
  });

  it('refuses a server that is no URL', () => {
    const path = join(home, 'config');
    writeFileSync(path, content('10.0.0.1'));
    expect(() => loadTarget([path], { origin: '--kubeconfig' })).to.throw('server "10.0.0.1" is not a URL');
  });

  it('keeps one connection pool for all requests', async () => {
    const path = join(home, 'config');
    writeFileSync(path, content('https://10.0.0.1:6443').replace('server:', 'insecure-skip-tls-verify: true, server:'));
    const { config } = loadTarget([path], { origin: '--kubeconfig' });
    const contexts = [1, 2].map(() => new RequestContext('https://10.0.0.1:6443/version', 'GET'));
    for (const context of contexts) await config.applySecurityAuthentication(context);
    expect(contexts[0]?.getDispatcher()).to.be.an('object').and.to.equal(contexts[1]?.getDispatcher());
  });
});

describe('reachRemedy', () => {
  const remedies: [string, object, RegExp][] = [
    ['a port where nothing listens', { code: 'ECONNREFUSED' }, /Nothing listens there/],
    ['a name that does not resolve', { code: 'ENOTFOUND' }, /does not resolve/],
    ['another CA', { code: 'SELF_SIGNED_CERT_IN_CHAIN' }, /another CA/],
    ['an expired server certificate', { code: 'CERT_HAS_EXPIRED' }, /has expired/],
    ['a timeout', { name: 'TimeoutError' }, /No way leads there/],
  ];
  for (const [what, cause, expected] of remedies) {
    it(`finds ${what} below a failed fetch`, () => {
      expect(reachRemedy(new TypeError('fetch failed', { cause }), 'https://x')).to.match(expected);
      const several = new AggregateError([Object.assign(new Error('x'), cause)]);
      expect(reachRemedy(new TypeError('fetch failed', { cause: several }), 'https://x')).to.match(expected);
    });
  }
});

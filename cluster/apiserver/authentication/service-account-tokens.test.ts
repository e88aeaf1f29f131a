// SPDX-License-Identifier: Apache-2.0
import { createSign } from 'node:crypto';
import { expect } from 'chai';
import * as fc from 'fast-check';
import { createTokenKeys } from '../../boot/certificates.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { createTokenService } from './service-account-tokens.ts';
import type { TokenService } from './service-account-tokens.ts';
import { readStaticTokens } from './static-tokens.ts';

describe('service-account tokens', () => {
  const keys = createTokenKeys();
  const objects = new Map<string, KubeObject>();
  let now = Date.parse('2026-01-01T00:00:00Z');
  const registry = {
    get: (resource: string, namespace: string | undefined, name: string) =>
      objects.get(`${resource}/${namespace}/${name}`),
  } as unknown as Registry;
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'sa', namespace: 'a', uid: 'u1' } };
  const claims = { namespace: 'a', serviceAccount: account, audiences: [], expirationSeconds: 3600 };
  let service: TokenService;

  beforeEach(() => {
    now = Date.parse('2026-01-01T00:00:00Z');
    objects.clear();
    objects.set('serviceaccounts/a/sa', account);
    objects.set('pods/a/p', { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'a', uid: 'u2' } });
    service = createTokenService({
      issuer: 'https://i',
      verificationKeys: [keys.publicKey],
      signingKey: keys.privateKey,
      apiAudiences: ['api'],
      registry,
      now: () => now,
    });
  });

  it('say whose they are', async () => {
    const boundObject = { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'u2' };
    const { token, expirationTimestamp } = await service.mint({
      ...claims,
      boundObject,
      node: { name: 'n1', uid: 'u3' },
    });
    expect(expirationTimestamp).to.equal('2026-01-01T01:00:00Z');
    const result = await service.authenticate(token, undefined);
    expect(result).to.have.nested.property('user.name', 'system:serviceaccount:a:sa');
    expect(result).to.have.nested.property('user.groups').that.includes('system:serviceaccounts:a');
    objects.delete('pods/a/p');
    expect(await service.authenticate(token, undefined)).to.have.property('error');
  });

  it('end with their time, their account, their audience and their signature', async () => {
    const { token } = await service.mint(claims);
    expect(await service.authenticate(token, ['other'])).to.have.property('error');
    const [header = '', body = '', signature = ''] = token.split('.');
    const forged = Buffer.from(Buffer.from(body, 'base64url').toString().replace(':sa', ':xx')).toString('base64url');
    expect(await service.authenticate(`${header}.${forged}.${signature}`, undefined)).to.equal(undefined);
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    expect(await service.authenticate(`${none}.${body}.`, undefined)).to.equal(undefined);
    objects.set('serviceaccounts/a/sa', { ...account, metadata: { ...account.metadata, uid: 'new' } });
    expect(await service.authenticate(token, undefined)).to.have.property('error');
    objects.set('serviceaccounts/a/sa', account);
    now += 3_601_000;
    expect(await service.authenticate(token, undefined)).to.deep.equal({ error: 'service account token has expired' });
  });

  it('of the older make live as long as their Secret holds them', async () => {
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${encode({ alg: 'ES256' })}.${encode({
      iss: 'kubernetes/serviceaccount',
      sub: 'system:serviceaccount:a:sa',
      'kubernetes.io/serviceaccount/namespace': 'a',
      'kubernetes.io/serviceaccount/secret.name': 's',
      'kubernetes.io/serviceaccount/service-account.name': 'sa',
      'kubernetes.io/serviceaccount/service-account.uid': 'u1',
    })}`;
    const key = { key: keys.privateKey, dsaEncoding: 'ieee-p1363' as const };
    const token = `${text}.${createSign('SHA256').update(text).sign(key).toString('base64url')}`;
    expect(await service.authenticate(token, undefined)).to.have.property('error');
    const data = { token: Buffer.from(token).toString('base64') };
    objects.set('secrets/a/s', { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: 'a' }, data });
    const result = await service.authenticate(token, undefined);
    expect(result).to.have.nested.property('user.name', 'system:serviceaccount:a:sa');
    objects.delete('serviceaccounts/a/sa');
    expect(await service.authenticate(token, undefined)).to.have.property('error');
  });

  it('of any other make are nobody', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), async (text) => {
        expect(await service.authenticate(text, undefined)).to.equal(undefined);
      }),
    );
  });
});

describe('readStaticTokens', () => {
  it('reads users with several groups', () => {
    const tokens = readStaticTokens('t1,joe,1,"a,b"\n\nbroken\nt2,ann,2\n');
    expect([...tokens]).to.deep.equal([
      ['t1', { name: 'joe', uid: '1', groups: ['a', 'b'] }],
      ['t2', { name: 'ann', uid: '2', groups: [] }],
    ]);
  });
});

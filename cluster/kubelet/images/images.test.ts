// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { credentialsFor } from './credentials.ts';
import { withDefaultTag } from './image-manager.ts';

const secret = (auths: object) => ({ type: '', data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })) } });
const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });

describe('images', () => {
  it('get :latest only without tag and digest', () => {
    expect(withDefaultTag('nginx')).to.equal('nginx:latest');
    expect(withDefaultTag('localhost:5000/a/b')).to.equal('localhost:5000/a/b:latest');
    expect(withDefaultTag('r.io/a:1')).to.equal('r.io/a:1');
    const digest = `r.io/a@sha256:${'0'.repeat(64)}`;
    expect(withDefaultTag(digest)).to.equal(digest);
    for (const bad of ['', 'UPPER', 'a b', 'a::b', ':1']) expect(withDefaultTag(bad), bad).to.equal(undefined);
  });

  it('find the credentials that fit best first', () => {
    const users = (image: string): string[] =>
      credentialsFor(image, [
        secret({
          'r.io': auth('host:pw'),
          'r.io/team': auth('team:p:w'),
          '*.example.com': auth('glob:pw'),
          'https://index.docker.io/v1/': { username: 'hub', password: 'pw' },
        }),
      ]).map(({ username, password }) => `${username}/${password}`);
    expect(users('r.io/team/app:1')).to.deep.equal(['team/p:w', 'host/pw']);
    expect(users('r.io/other')).to.deep.equal(['host/pw']);
    expect(users('a.example.com/x')).to.deep.equal(['glob/pw']);
    expect(users('nginx')).to.deep.equal(['hub/pw']);
    expect(users('quay.io/x')).to.deep.equal([]);
  });

  it('survive any secret', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (text, image) => {
        credentialsFor(image, [{ type: '', data: { '.dockercfg': Buffer.from(text) } }, secret({ [text]: {} })]);
        return true;
      }),
      { numRuns: 300 },
    );
  });
});

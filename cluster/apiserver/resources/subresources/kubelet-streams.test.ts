// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { streamQuery } from './kubelet-streams.ts';

describe('query of exec and attach', () => {
  it('takes a terminal together with stderr, as clients without care ask for it', () => {
    const asked = streamQuery('exec', new URLSearchParams('command=ls&command=-l&stdout=true&stderr=true&tty=true'));
    expect([...asked]).to.deep.equal([
      ['output', '1'],
      ['error', '1'],
      ['tty', '1'],
      ['command', 'ls'],
      ['command', '-l'],
    ]);
  });

  it('refuses a request for no stream, and exec of no command', () => {
    expect(() => streamQuery('attach', new URLSearchParams('tty=true'))).to.throw(/at least one of stdin/);
    expect(() => streamQuery('exec', new URLSearchParams('stdout=1'))).to.throw(/at least one command/);
    expect([...streamQuery('attach', new URLSearchParams('stdout=1'))]).to.deep.equal([['output', '1']]);
  });
});

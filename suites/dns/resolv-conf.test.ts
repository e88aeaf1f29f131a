// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseResolvConf } from './resolv-conf.ts';

describe('resolv.conf', () => {
  it('is the same whatever the order of its options and lines', () => {
    const one = parseResolvConf('nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2 edns0\n');
    const other = parseResolvConf(
      '# note\noptions edns0\n\nsearch a.example b.example\nnameserver 192.0.2.53\noptions ndots:2',
    );
    expect(one).to.deep.equal(other);
    expect(one).to.deep.equal({
      nameservers: ['192.0.2.53'],
      searches: ['a.example', 'b.example'],
      options: ['edns0', 'ndots:2'],
      others: [],
    });
  });

  it('differs by the order of servers and searches, and by what is not asked for', () => {
    expect(parseResolvConf('nameserver a\nnameserver b').nameservers).to.deep.equal(['a', 'b']);
    expect(parseResolvConf('search a\nsearch b c').searches).to.deep.equal(['b', 'c']);
    expect(parseResolvConf('domain x\n').others).to.deep.equal(['domain x']);
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { claimPrefix, hostLinkName, overlaps, pickPrefix } from './lan.ts';

describe('machines/lan', () => {
  it('passes over networks that the host routes or another cluster has', () => {
    expect(pickPrefix([], [])).to.equal('172.28.0');
    expect(pickPrefix(['172.28.0.0/24'], ['172.28.1'])).to.equal('172.28.2');
    expect(pickPrefix(['172.28.0.0/16'], [])).to.equal('172.29.0');
    expect(() => pickPrefix(['172.16.0.0/12'], [])).to.throw('--lan');
  });

  it('gives two that come up at the same time different networks, and the first one back when it is free', async () => {
    const [one, other] = await Promise.all([claimPrefix('', []), claimPrefix('', [])]);
    expect(one.prefix).not.to.equal(other.prefix);
    const refusal = await claimPrefix(one.prefix, []).then(
      () => undefined,
      (error: Error) => error.message,
    );
    expect(refusal).to.match(/another cluster is just taking/);
    one.release();
    (await claimPrefix(one.prefix, [])).release();
    other.release();
  });

  it('finds overlaps from either side', () => {
    expect(overlaps('172.28.3.0/24', '172.28.3.77/32')).to.equal(true);
    expect(overlaps('172.28.3.0/24', '172.0.0.0/8')).to.equal(true);
    expect(overlaps('172.28.3.0/24', '0.0.0.0/0')).to.equal(true);
    expect(overlaps('172.28.3.0/24', '172.28.2.0/24')).to.equal(false);
    expect(overlaps('10.0.0.0/8', '192.0.2.1/32')).to.equal(false);
  });

  it('names the host link within the 15 characters of a link name', () => {
    const names = ['plumb', 'a-very-long-name-of-a-cluster-with-forty'].map(hostLinkName);
    for (const name of names) expect(name).to.have.length.at.most(15);
    expect(new Set(names).size).to.equal(2);
  });
});

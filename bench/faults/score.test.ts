// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { findingsOf, score, type Cause, type Finding } from './score.ts';

const cause: Cause = { reason: ['no-route', 'blackhole'], component: ['network'], node: 'w1', object: ['Pod shop/db'] };
const finding: Finding = {
  reason: 'no-route',
  component: 'network',
  node: 'w1',
  objects: ['Pod shop/db'],
  summary: '',
};

describe('the score of a diagnosis', () => {
  it('rises from detected to component, hop and object', () => {
    const of = (change: Partial<Finding>) => score([cause], [{ ...finding, ...change }]);
    expect(score([cause], [])).to.deep.equal({ detected: false, component: false, hop: false, object: false });
    expect(of({ component: 'dns' })).to.deep.equal({ detected: true, component: false, hop: false, object: false });
    expect(of({ node: 'w2' })).to.deep.equal({ detected: true, component: true, hop: false, object: false });
    expect(of({ reason: 'mtu' })).to.include({ component: true, hop: false });
    expect(of({ objects: [] })).to.deep.equal({ detected: true, component: true, hop: true, object: false });
    expect(of({})).to.deep.equal({ detected: true, component: true, hop: true, object: true });
  });

  it('counts only as many findings as there are causes, and wants each of them', () => {
    const other: Finding = { ...finding, component: 'dns' };
    expect(score([cause], [other, finding]).component).to.equal(false);
    const second: Cause = { reason: ['no-route'], component: ['dns'] };
    expect(score([cause, second], [other, finding]).object).to.equal(true);
    expect(score([cause, second], [finding, finding]).component).to.equal(false);
  });

  it('takes nothing else for findings', () => {
    expect(findingsOf(JSON.stringify({ findings: [finding] }))).to.deep.equal([finding]);
    expect(() => findingsOf('{"healthy":true}')).to.throw('no findings in {"healthy":true}');
    expect(() => findingsOf('{"findings":[{"reason":1}]}')).to.throw('no finding');
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { explainFlow, parseSeenPackets, type FlowFacts } from './flow-explanation.ts';

const leaving = `2026-11-21 12:00:00.000001 veth1a In  IP 10.244.1.2.40000 > 10.96.0.9.80: Flags [S], seq 1, length 0
2026-11-21 12:00:00.000050 eth0  Out IP 10.244.1.2.40000 > 10.244.2.3.8080: Flags [S], seq 1, length 0`;
const arriving = `2026-11-21 12:00:00.000090 eth0  In  IP 10.244.1.2.40000 > 10.244.2.3.8080: Flags [S], seq 1, length 0`;
const delivered = `${arriving}
2026-11-21 12:00:00.000100 veth2b Out IP 10.244.1.2.40000 > 10.244.2.3.8080: Flags [S], seq 1, length 0`;

function facts(server: string, more: Partial<FlowFacts> = {}): FlowFacts {
  return {
    client: 'pod x/a on w1',
    clientNode: 'w1',
    clientAddresses: ['10.244.1.2'],
    target: 'tcp 10.96.0.9:80',
    servers: [{ name: 'pod x/b', address: '10.244.2.3', node: 'w2' }],
    outcome: 'dropped',
    captures: new Map([
      ['w1', parseSeenPackets(leaving)],
      ['w2', parseSeenPackets(server)],
    ]),
    policies: [],
    ...more,
  };
}

describe('capture: explainFlow', () => {
  it('reads interface and direction from tcpdump lines and skips others', () => {
    expect(
      parseSeenPackets(`${leaving}\nreading from file -, link-type LINUX_SLL2\nx ARP, Request who-has`),
    ).to.have.length(2);
    expect(parseSeenPackets(arriving)[0]).to.include({
      interface: 'eth0',
      direction: 'In',
      source: '10.244.1.2.40000',
    });
  });

  it('names the place where the packet was seen last', () => {
    expect(explainFlow(facts(''))).to.contain('it was lost between w1 and w2');
    expect(explainFlow(facts(arriving))).to.contain('was not handed to pod x/b (10.244.2.3): it was dropped on w2');
    expect(explainFlow(facts(delivered))).to.contain('at veth2b of w2, which did not answer');
    expect(explainFlow(facts('', { captures: new Map([['w1', []]]) }))).to.contain(
      "never left the client's network namespace",
    );
  });

  it('tells one address from another that starts alike', () => {
    const other = delivered.replaceAll('10.244.2.3.8080', '10.244.2.30.8080');
    expect(explainFlow(facts(other))).to.contain('Nothing of it arrived on w2');
  });
});

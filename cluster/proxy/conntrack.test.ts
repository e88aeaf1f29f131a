// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { mayLeaveFlows, parseFlows, staleFlows, udpState } from './conntrack.ts';
import { backend, servicePort } from './testing.ts';
import type { UdpState } from './conntrack.ts';
import type { ServicePort } from './service-model.ts';

const saved = `udp      17 29 src=10.244.1.9 dst=10.96.0.10 sport=41234 dport=53 src=10.244.1.2 dst=10.244.1.9 sport=5353 dport=41234 [ASSURED] mark=0 use=1
udp      17 12 src=10.244.1.9 dst=10.96.0.10 sport=41235 dport=53 [UNREPLIED] src=10.244.2.2 dst=10.244.1.9 sport=5353 dport=41235 mark=0 use=1
udp      17 12 src=192.0.2.9 dst=172.18.0.2 sport=999 dport=30053 [UNREPLIED] src=10.244.2.2 dst=172.18.0.2 sport=5353 dport=999 mark=0 use=1
udp      17 12 src=10.244.1.9 dst=203.0.113.5 sport=999 dport=30053 src=203.0.113.5 dst=172.18.0.2 sport=30053 dport=999 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.
`;

describe('stale UDP flows', () => {
  const own = new Set(['172.18.0.2']);

  it('are those to endpoints that a changed Service does not have, also on node ports of this node', () => {
    const changes = { before: [], after: [state(['10.244.1.2'])] };
    expect(staleFlows(parseFlows(saved), changes, own)).to.deep.equal([
      { address: '10.96.0.10', port: 53, repliesFrom: '10.244.2.2', repliesFromPort: 5353 },
      { address: '172.18.0.2', port: 30053, repliesFrom: '10.244.2.2', repliesFromPort: 5353 },
    ]);
  });

  it('are those to another port of the same endpoint', () => {
    const [before, after] = [state(['10.244.1.2', '10.244.2.2']), state(['10.244.1.2', '10.244.2.2'], {}, 1053)];
    expect(mayLeaveFlows(before, after)).to.equal(true);
    const found = staleFlows(parseFlows(saved), { before: [before], after: [after] }, own);
    expect(found.map(({ address, repliesFrom }) => [address, repliesFrom])).to.deep.equal([
      ['10.96.0.10', '10.244.1.2'],
      ['10.96.0.10', '10.244.2.2'],
      ['172.18.0.2', '10.244.2.2'],
    ]);
  });

  it('are all flows of a Service that is gone, and none of other Services', () => {
    const changes = { before: [state(['10.244.1.2'])], after: [] };
    expect(staleFlows(parseFlows(saved), changes, own)).to.have.length(3);
    const other = { before: [], after: [state([], { clusterIP: '10.96.0.11', nodePort: undefined })] };
    expect(staleFlows(parseFlows(saved), other, own)).to.deep.equal([]);
  });

  it('can only be left by removals, first endpoints and lost addresses', () => {
    const [one, two, none] = [state(['a']), state(['a', 'b']), state([])];
    const answers = [
      [one, two],
      [two, one],
      [none, one],
      [undefined, one],
      [one, undefined],
      [one, state(['a'], { nodePort: 30054 })],
    ] as const;
    expect(answers.map(([before, after]) => mayLeaveFlows(before, after))).to.deep.equal([
      false,
      true,
      true,
      true,
      true,
      true,
    ]);
  });
});

function state(addresses: readonly string[], facts: Partial<ServicePort> = {}, targetPort = 5353): UdpState {
  const port = servicePort({ protocol: 'udp', port: 53, clusterIP: '10.96.0.10', nodePort: 30053, ...facts });
  const backends = addresses.map((address) => backend(address, { port: targetPort }));
  return udpState(port, backends) ?? { port, backends: new Set() };
}

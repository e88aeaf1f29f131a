// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Attach, MadeAttempt } from '../agent/prober.ts';
import { recordFailingFlow, type TracedFailure } from './failing-flow.ts';
import { judge } from './judge.ts';
import type { Observations } from './observations.ts';

const delivered = JSON.parse(
  readFileSync(new URL('../../fixtures/traces/delivered.json', import.meta.url), 'utf8'),
) as Observations;
const made = {
  from: { description: 'pod shop/client on node-a', node: 'node-a' },
  request: { protocol: 'tcp', host: '10.96.0.9', port: 80 },
  result: { nonce: 'a', outcome: 'dropped', latencyMs: 1500, error: 'no answer to the SYN' },
} as unknown as MadeAttempt;

async function explanationOf(traced: Omit<TracedFailure, 'lines'>): Promise<string> {
  const attached: Parameters<Attach>[0][] = [];
  await recordFailingFlow({
    error: new Error('no answer'),
    made: [made],
    attach: (one) => Promise.resolve(void attached.push(one)),
    access: undefined,
    trace: () => Promise.resolve({ ...traced, lines: [] }),
  });
  return String(attached.find(({ name }) => name === 'explanation.txt')?.content);
}

describe('the flow of a failed case', () => {
  it('is called passed only where no endpoint of the Service is silent', async () => {
    const record = { schema: 1, verdict: judge(delivered), observations: delivered } as const;
    expect(await explanationOf({ record })).to.contain('succeeded: the fault has passed, or comes and goes.');
    const lost = { ...delivered, attempts: [{ outcome: 'dropped', latencyMs: 1500, payloadOctets: 0 }], sightings: [] };
    const toSilent = { schema: 1, verdict: judge(lost), observations: lost } as const;
    const met = 'shop/client reaches shop/web:80 this time, by another of its endpoints.';
    const text = await explanationOf({ record: toSilent, met });
    expect(text).not.to.contain('has passed');
    expect(text.split('\n').slice(1, 3)).to.deep.equal([met, toSilent.verdict.summary]);
  });
});

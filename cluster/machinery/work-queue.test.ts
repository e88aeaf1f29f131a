// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { WorkQueue } from './work-queue.ts';

describe('machinery/work-queue', () => {
  it('never works on one key twice at a time, and once more when the key came back meanwhile', async () => {
    const stop = new AbortController();
    let running = 0;
    const seen: string[] = [];
    const finished = Promise.withResolvers<void>();
    const queue = new WorkQueue({
      name: 'once',
      reconcile: async (key) => {
        expect(++running).to.be.at.most(2);
        seen.push(key);
        if (key === 'a' && seen.filter((one) => one === 'a').length === 1) for (let i = 0; i < 5; i++) queue.add('a');
        await new Promise((resolve) => setTimeout(resolve, 5));
        running--;
        if (seen.length === 4) finished.resolve();
      },
      concurrency: 2,
    });
    for (const key of ['a', 'b', 'a', 'c']) queue.add(key);
    queue.start(stop.signal);
    await finished.promise;
    stop.abort();
    expect(seen).to.deep.equal(['a', 'b', 'c', 'a']);
  });

  it('tries again after a failure, with longer delays, and looks again when asked to', async () => {
    const stop = new AbortController();
    const times: number[] = [];
    const finished = Promise.withResolvers<void>();
    const queue = new WorkQueue({
      name: 'retry',
      backoff: { baseMs: 10 },
      reconcile: async () => {
        times.push(performance.now());
        if (times.length < 4) throw new Error('not yet');
        if (times.length === 4) return { requeueAfterMs: 1 };
        finished.resolve();
        return undefined;
      },
    });
    queue.start(stop.signal);
    queue.add('a');
    await finished.promise;
    stop.abort();
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    // Timers are never early, but on a busy machine they are late: only the least delays tell that they double.
    expect(gaps[0]).to.be.at.least(8);
    expect(gaps[1]).to.be.at.least(18);
    expect(gaps[2]).to.be.at.least(38);
  });
});

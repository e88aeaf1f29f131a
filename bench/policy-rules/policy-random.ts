// SPDX-License-Identifier: Apache-2.0
/** The soak as a benchmark. Unlike others it judges: a disagreement ends it with an error. */
import { ours, type Benchmark } from '../benchmark.ts';
import { openKernel } from './kernel.ts';
import { soak } from './soak.ts';

export const policyRandom: Benchmark = {
  name: 'policy-random',
  about: '10,000 random policies: compiled, traced, judged by two oracles, applied to a kernel and read back',
  async run(bench) {
    const wanted = bench.options.runs ?? (bench.options.quick ? 500 : 10_000);
    const kernels = { grown: await openKernel(), fresh: await openKernel() };
    bench.onCleanup(() => Object.values(kernels).forEach((kernel) => kernel.close()));
    const startedAt = performance.now();
    const round = 100;
    const sum = { sets: 0, policies: 0, cells: 0 };
    // Each round starts from nothing, so that a failing seed is soon reached again.
    for (let first = 1; sum.policies < wanted && !bench.signal.aborted; first += round) {
      const begin = performance.now();
      const totals = await soak({ first, last: first + round - 1 }, kernels, () => bench.signal.throwIfAborted());
      sum.sets += totals.sets;
      sum.policies += totals.policies;
      sum.cells += totals.cells;
      const seconds = (performance.now() - begin) / 1000;
      bench.record({ name: 'sets of policies', unit: '1/s', better: 'higher' }, ours, [totals.sets / seconds]);
      bench.log(`${sum.policies} policies in ${sum.sets} sets, ${sum.cells} cells agree`);
    }
    const minutes = (performance.now() - startedAt) / 60_000;
    bench.note(
      `${sum.policies} random policies in ${sum.sets} states of a cluster, ${sum.cells} cells, in ${minutes.toFixed(1)} min: compiler, kernel and oracles agree`,
    );
  },
};

// SPDX-License-Identifier: Apache-2.0
// Random policies through compiler, virtual packets, oracles and this machine's kernel; `npm run bench -- policy-random` does more of it.
import { expect } from 'chai';

import { openKernel, type Kernel } from './kernel.ts';
import { soak } from './soak.ts';

describe('random policies', function () {
  this.timeout(120_000);
  const kernels: Kernel[] = [];

  after(() => kernels.forEach((kernel) => kernel.close()));

  it('mean the same to compiler, kernel and oracles, one change after the other', async () => {
    const [grown, fresh] = [await openKernel(), await openKernel()];
    kernels.push(grown, fresh);
    const totals = await soak({ first: 1001, last: 1060 }, { grown, fresh }, () => undefined);
    expect(totals.policies).to.be.greaterThan(80);
    expect(totals.wholes).to.equal(1);
  });
});

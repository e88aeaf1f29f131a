// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { identify, isAlive, kill, killAll, memoryOf, pidsInside } from './processes.ts';

describe('machines/processes', () => {
  it('knows a process again, and not another one with its pid', () => {
    const self = identify(process.pid);
    expect(self).to.not.equal(undefined);
    if (self === undefined) return;
    expect(isAlive(self)).to.equal(true);
    expect(isAlive({ ...self, startTime: '1' })).to.equal(false);
    expect(pidsInside(process.pid, [process.pid]).size).to.equal(1);
    expect(memoryOf(process.pid).rss).to.be.greaterThan(1e6);
  });

  it('kills only whom it knows', async () => {
    const child = spawn('sleep', ['60']);
    const identity = identify(child.pid ?? 0);
    if (identity === undefined) throw new Error('sleep did not start');
    kill({ ...identity, startTime: '1' }, 'SIGKILL');
    expect(isAlive(identity)).to.equal(true);
    const exit = once(child, 'exit');
    await killAll(() => [identity.pid], "the test's child");
    await exit;
    expect(isAlive(identity)).to.equal(false);
  });
});

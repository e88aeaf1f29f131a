// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { execFileSync } from 'node:child_process';

import { decodeStatus, runScript } from './supervisor.ts';

describe('machines/supervisor', () => {
  const status = (pid: number, wanted: string): Buffer => {
    const bytes = Buffer.alloc(20);
    bytes.writeBigUInt64BE(4_611_686_018_427_387_914n + 1000n, 0);
    bytes.writeUInt32LE(pid, 12);
    bytes.write(wanted, 17, 'latin1');
    return bytes;
  };

  it('decodes what runsv writes', () => {
    const now = 1060 * 1000;
    expect(decodeStatus('etcd', status(4711, 'u'), now)).to.deep.equal({
      name: 'etcd',
      pid: 4711,
      seconds: 60,
      wanted: 'up',
    });
    expect(decodeStatus('etcd', status(0, 'd'), now)).to.deep.include({ pid: undefined, wanted: 'down' });
    expect(decodeStatus('etcd', Buffer.alloc(7), now)).to.equal(undefined);
  });

  it('hands every argument and variable to the program unchanged', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', "'", '"', ' ', '$', '\\', '`', '\n', '*', ';'),
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 40 }), text, (words, value) => {
        const script = runScript({ name: 'x', command: ['printf', '%s\\0', ...words], env: { VALUE: value } });
        const printed = execFileSync('sh', ['-c', script]).toString();
        expect(printed).to.equal(words.map((word) => `${word}\0`).join(''));
        const environment = execFileSync('sh', [
          '-c',
          runScript({ name: 'x', command: ['printenv', 'VALUE'], env: { VALUE: value } }),
        ]);
        expect(environment.toString()).to.equal(`${value}\n`);
      }),
      { numRuns: 5 },
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { makeMountPoints, removeMountPoints } from './mount-points.ts';

describe('machines/mount-points', () => {
  it('removes what it has made, keeps what was there or is in use', () => {
    const root = mkdtempSync(join(tmpdir(), 'plumb-mounts-'));
    try {
      const [before, made, used] = ['before', 'made', 'used'].map((name) => join(root, name)) as [
        string,
        string,
        string,
      ];
      mkdirSync(before);
      makeMountPoints(root, [before, made, used]);
      makeMountPoints(root, [before, made, used]);
      writeFileSync(join(used, 'file'), '');
      removeMountPoints(root);
      expect([before, made, used].map((path) => existsSync(path))).to.deep.equal([true, false, true]);
      removeMountPoints(root);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

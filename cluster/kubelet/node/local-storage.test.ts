// SPDX-License-Identifier: Apache-2.0
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Pod, PodSpec } from '../../machinery/api-types.ts';
import { diskUsage } from './disk-usage.ts';
import { brokenStorageLimit, hasStorageLimit } from './local-storage.ts';
import type { StorageUsage } from './local-storage.ts';

const mi = 1 << 20;
const pod = (spec: Partial<PodSpec>): Pod => ({ metadata: { name: 'p' }, spec: { containers: [], ...spec } });
const limited = (name: string, limit: string): PodSpec['containers'][number] => ({
  name,
  resources: { limits: { 'ephemeral-storage': limit } },
});
const using = (usage: Partial<Record<keyof StorageUsage, Record<string, number>>>): StorageUsage => ({
  layers: new Map(Object.entries(usage.layers ?? {})),
  logs: new Map(Object.entries(usage.logs ?? {})),
  volumes: new Map(Object.entries(usage.volumes ?? {})),
});

describe('limits of local storage', () => {
  it('measures only pods that have one', () => {
    expect(hasStorageLimit(pod({ containers: [{ name: 'c' }], volumes: [{ name: 'v', emptyDir: {} }] }))).to.equal(
      false,
    );
    expect(hasStorageLimit(pod({ containers: [limited('c', '5Mi')] }))).to.equal(true);
    expect(hasStorageLimit(pod({ volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] }))).to.equal(true);
  });

  it('holds a volume to its size, up to the last byte', () => {
    const one = pod({ volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }] });
    expect(brokenStorageLimit(one, using({ volumes: { v: mi } }))).to.equal(undefined);
    expect(brokenStorageLimit(one, using({ volumes: { v: mi + 1 } }))).to.equal(
      'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
    );
  });

  it('adds up layers, logs and volumes on disk against the limits of all containers', () => {
    const one = pod({
      containers: [limited('a', '2Mi'), limited('b', '3Mi')],
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory' } },
      ],
    });
    const usage = { layers: { a: mi, b: mi }, logs: { a: mi }, volumes: { disk: 2 * mi, memory: 9 * mi } };
    expect(brokenStorageLimit(one, using(usage))).to.equal(undefined);
    expect(brokenStorageLimit(one, using({ ...usage, logs: { a: mi, b: 1 } }))).to.equal(
      'Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ',
    );
  });

  it('holds each container to its own limit', () => {
    const one = pod({ containers: [limited('a', '2Mi'), limited('b', '3Mi')] });
    expect(brokenStorageLimit(one, using({ layers: { a: mi }, logs: { a: mi + 1 } }))).to.equal(
      'Container a exceeded its local ephemeral storage limit "2Mi". ',
    );
  });

  it('counts what folders take on disk, a file of two names once', async () => {
    const root = mkdtempSync(join(tmpdir(), 'disk-usage-'));
    try {
      mkdirSync(join(root, 'a/deep'), { recursive: true });
      mkdirSync(join(root, 'empty'));
      writeFileSync(join(root, 'a/deep/file'), Buffer.alloc(mi, 1));
      linkSync(join(root, 'a/deep/file'), join(root, 'a/other-name'));
      const usage = await diskUsage(root);
      expect(usage.get('a')).to.be.within(mi, 1.5 * mi);
      expect(usage.get('empty')).to.equal(0);
      expect(await diskUsage(join(root, 'missing'))).to.deep.equal(new Map());
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Pod, Volume } from '../../machinery/api-types.ts';
import { writeAtomically } from './atomic-files.ts';
import { volumeFiles } from './file-content.ts';

describe('files of a volume', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'volume-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const files = (content: Record<string, string>, mode = 0o644) =>
    new Map(Object.entries(content).map(([path, text]) => [path, { data: Buffer.from(text), mode }]));

  it('change all at once, behind links that stay, and only when there is a change', () => {
    expect(writeAtomically(folder, files({ a: '1', 'b/c': '2' }))).to.equal(true);
    const first = readlinkSync(join(folder, '..data'));
    expect(readlinkSync(join(folder, 'a'))).to.equal('..data/a');
    expect(readFileSync(join(folder, 'b/c'), 'utf8')).to.equal('2');
    expect(writeAtomically(folder, files({ a: '1', 'b/c': '2' }))).to.equal(false);
    expect(writeAtomically(folder, files({ a: '3', d: '4' }))).to.equal(true);
    expect(readlinkSync(join(folder, '..data'))).not.to.equal(first);
    expect(readdirSync(folder).filter((name) => !name.startsWith('..'))).to.have.members(['a', 'd']);
    expect(readdirSync(folder).filter((name) => name.startsWith('..'))).to.have.length(2);
    expect(readFileSync(join(folder, 'a'), 'utf8')).to.equal('3');
    expect(writeAtomically(folder, files({ a: '3', d: '4' }, 0o400))).to.equal(true);
    expect(statSync(join(folder, 'a')).mode & 0o777).to.equal(0o400);
  });

  const pod: Pod = {
    metadata: { name: 'p', namespace: 'n', uid: 'u', labels: { x: 'y' } },
    spec: { containers: [{ name: 'c', resources: { limits: { cpu: '2' } } }] },
  };
  const contentOf = (volume: Partial<Volume>) =>
    volumeFiles(
      { name: 'v', ...volume },
      {
        pod,
        podIPs: [],
        hostIPs: [],
        allocatable: {},
        configMap: async (name) =>
          name === 'cm' ? { metadata: { name }, data: { k: 'v' }, binaryData: { b: 'AAE=' } } : undefined,
        secret: async () => undefined,
        token: async () => 'jwt',
      },
    );

  it('come from config maps, fields and tokens together', async () => {
    const got = await contentOf({
      projected: {
        sources: [
          { configMap: { name: 'cm', items: [{ key: 'k', path: 'dir/k', mode: 0o600 }] } },
          {
            downwardAPI: {
              items: [
                { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
                { path: 'cpu', resourceFieldRef: { containerName: 'c', resource: 'limits.cpu' } },
              ],
            },
          },
          { serviceAccountToken: { path: 'token' } },
          { secret: { name: 'gone', optional: true } },
        ],
      },
    });
    const shown = [...got].map(([path, file]) => `${path}=${file.data.toString()}/${file.mode.toString(8)}`);
    expect(shown).to.deep.equal(['dir/k=v/600', 'labels=x="y"/644', 'cpu=2/644', 'token=jwt/644']);
    expect((await contentOf({ configMap: { name: 'cm' } })).get('b')?.data).to.deep.equal(Buffer.from([0, 1]));
  });

  it('are refused by name when something is missing or a path leads out', async () => {
    const failure = async (volume: Partial<Volume>): Promise<string> =>
      contentOf(volume).then(
        () => 'none',
        (error: Error) => error.message,
      );
    expect(await failure({ secret: { secretName: 'gone' } })).to.equal('secret "gone" not found');
    expect(await failure({ configMap: { name: 'cm', items: [{ key: 'x', path: 'x' }] } })).to.equal(
      'references non-existent config key: x',
    );
    expect(await failure({ configMap: { name: 'cm', items: [{ key: 'k', path: '../x' }] } })).to.include(
      'invalid path',
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extract } from 'tar-stream';

import { blobPath, writeLayout } from './layout-archive.ts';
import { contentTree, parseLdd, tarOf, without, type FileTree } from './layers.ts';
import { architectureOf, pauseProgram } from './pause-program.ts';

describe('boot/images', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'plumb-images-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  it('assembles a pause program that sleeps, ignores SIGCHLD and ends at SIGTERM', async () => {
    const file = join(directory, 'pause');
    writeFileSync(file, pauseProgram(architectureOf(process.arch)), { mode: 0o755 });
    const child = spawn(file, { stdio: 'ignore' });
    const exit = once(child, 'exit');
    const status = (): string => readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8');
    while (!/^SigCgt:\t0*4002$/m.test(status())) await new Promise((resolve) => setImmediate(resolve));
    expect(/^SigIgn:\t.*1....$/m.test(status())).to.equal(true);
    child.kill('SIGCHLD');
    child.kill('SIGTERM');
    expect(await exit).to.deep.equal([0, null]);
  });

  it('assembles arm64 instructions as the architecture manual encodes them', () => {
    const program = pauseProgram('arm64');
    const word = (index: number): number => program.readUInt32LE(120 + index * 4);
    expect(program.readUInt16LE(18)).to.equal(183);
    // mov x8, #134; mov x0, #17; mov x1, #low; movk x1, #0x40, lsl #16
    expect([word(0), word(1)]).to.deep.equal([0xd28010c8, 0xd2800220]);
    expect(word(3)).to.equal(0xf2a00801);
    // svc #0, and a branch six instructions back
    expect(word(6)).to.equal(0xd4000001);
    expect(word(27)).to.equal(0x17fffffa);
    expect(program.length).to.equal(120 + 31 * 4 + 64);
  });

  it('reads what ldd prints', () => {
    const output = `\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n`;
    expect(parseLdd(output)).to.deep.equal(['/lib/x86_64-linux-gnu/libc.so.6', '/lib64/ld-linux-x86-64.so.2']);
    expect(parseLdd('\tnot a dynamic executable\n')).to.deep.equal([]);
  });

  it('packs a layer with parents first, sorted, the same every time', async () => {
    const tree: FileTree = new Map([
      ...contentTree({ '/b/c/d': 'text', '/a': 'x' }),
      ['/b/link', { kind: 'link', target: 'c/d' }],
    ]);
    const names: string[] = [];
    const reader = extract();
    reader.on('entry', (header, stream, next) => {
      names.push(`${header.type} ${header.name}`);
      stream.resume();
      next();
    });
    const hash = createHash('sha256');
    for await (const chunk of tarOf(tree)) {
      hash.update(chunk as Buffer);
      reader.write(chunk);
    }
    expect(names).to.deep.equal(['file a', 'directory b/', 'directory b/c/', 'file b/c/d', 'symlink b/link']);
    const again = createHash('sha256');
    for await (const chunk of tarOf(new Map([...tree].toReversed()))) again.update(chunk as Buffer);
    expect(again.digest('hex')).to.equal(hash.digest('hex'));
    expect([...without(tree, [contentTree({ '/a': '' })]).keys()]).to.deep.equal(['/b/c/d', '/b/link']);
  });

  it('writes a layout whose blobs are what their names say, shared layers once', async () => {
    const base = contentTree({ '/base': 'shared' });
    const images = ['one', 'two'].map((name) => ({
      reference: `plumbline.local/${name}:1`,
      layers: [base, contentTree({ '/app': name })],
      entrypoint: ['/app'],
      user: '1:1',
    }));
    const written = await writeLayout(images, directory, { compress: true });
    expect(written[0]?.layers[0]).to.deep.equal(written[1]?.layers[0]);
    for (const { manifest, config, layers } of written) {
      for (const { digest, size } of [manifest, config, ...layers]) {
        const bytes = readFileSync(blobPath(directory, digest));
        expect(bytes.length).to.equal(size);
        expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).to.equal(digest);
      }
    }
    const docker = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as { RepoTags: string[] }[];
    expect(docker.map((image) => image.RepoTags)).to.deep.equal([['plumbline.local/one:1'], ['plumbline.local/two:1']]);
  });
});

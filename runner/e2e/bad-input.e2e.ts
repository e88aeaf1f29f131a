// SPDX-License-Identifier: Apache-2.0
/** Wrong input, each kind: exit code 2, the value that is wrong, and a remedy. Needs no cluster; a small full disk needs root. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { sampleEvents } from '../../reporters/sample-run.ts';
import { plumb } from './plumb-process.ts';

const suites = fileURLToPath(new URL('suites/', import.meta.url));

let folder: string;
before(() => (folder = mkdtempSync(join(tmpdir(), 'plumb-bad-input-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function kubeconfig(name: string, server: string, user = ''): string {
  return written(
    name,
    `apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: k, cluster: {server: "${server}"}}]\nusers: [{name: u, user: {${user}}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n`,
  );
}

/** A port of this host on which nothing listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('plumb run refuses', function () {
  this.timeout(60_000);
  const refuses = async (args: readonly string[], ...parts: readonly (string | RegExp)[]): Promise<void> => {
    const { code, output } = await plumb(['run', '--suites', suites, '--output', join(folder, 'results'), ...args]);
    for (const part of parts)
      expect(output).to.match(
        typeof part === 'string' ? new RegExp(part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : part,
      );
    expect(output).not.to.match(/^\s+at .*\.(ts|js):/m, 'no stack for a fault of the user');
    expect(code, output).to.equal(2);
  };

  it('an unknown flag, command or mode', async () => {
    await refuses(['--frobnicate'], "unknown option '--frobnicate'");
    await refuses(['--mode', 'fast'], '--mode fast', 'quick, network, policy, full');
    const { code, output } = await plumb(['rnu']);
    expect(output).to.contain("unknown command 'rnu'").and.to.contain('Did you mean run?');
    expect(code).to.equal(2);
  });

  it('values that are none', async () => {
    await refuses(['--parallel', '0'], '--parallel 0');
    await refuses(['--timeout', 'soon'], '--timeout soon', '15m');
    await refuses(['--focus', '('], '--focus (');
    await refuses(['--focus', 'x', '--rerun-failed', folder], '--rerun-failed and --focus');
  });

  it('a focus that matches nothing', () =>
    refuses(['--focus', 'no-such-case'], '--focus no-such-case matches none of the', 'plumb list'));

  it('a kubeconfig that does not exist, is garbage, or has no context', async () => {
    await refuses(['--kubeconfig', join(folder, 'missing')], join(folder, 'missing'), 'does not exist', '->');
    await refuses(['--kubeconfig', written('garbage', '{]: nonsense')], 'garbage', 'cannot be read', '->');
    await refuses(
      ['--kubeconfig', written('empty', 'apiVersion: v1\nkind: Config\n')],
      'no usable current context',
      '->',
    );
    await refuses(
      ['--kubeconfig', kubeconfig('good', 'https://127.0.0.1:1'), '--context', 'other'],
      'context "other"',
      '--context: c',
    );
  });

  it('an API server that cannot be reached, and leaves a record of it', async () => {
    const port = await freePort();
    await refuses(
      ['--kubeconfig', kubeconfig('closed', `https://127.0.0.1:${port}`)],
      `https://127.0.0.1:${port} cannot be reached`,
      'ECONNREFUSED',
      'Nothing listens there',
    );
    const [run] = readdirSync(join(folder, 'results')).toReversed();
    expect(readdirSync(join(folder, 'results', run ?? ''))).to.include.members([
      'report.html',
      'junit_01.xml',
      'events.jsonl',
    ]);
  });

  it('a name that does not resolve', () =>
    refuses(
      ['--kubeconfig', kubeconfig('unknown', 'https://no-such-host.invalid:6443')],
      'no-such-host.invalid',
      /does not resolve|cannot be reached/,
    ));

  it('an expired client certificate, before the server says 401', async () => {
    const { privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const key = written('old.key', privateKey);
    const certificate = join(folder, 'old.crt');
    mkdirSync(join(folder, 'ca'));
    writeFileSync(join(folder, 'ca', 'index.txt'), '');
    const configuration = written(
      'ca.conf',
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${folder}/ca/index.txt\nnew_certs_dir=${folder}/ca\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n`,
    );
    execFileSync('openssl', ['req', '-new', '-key', key, '-subj', '/CN=old-admin', '-out', join(folder, 'old.csr')]);
    const dates = ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z'];
    execFileSync(
      'openssl',
      [
        'ca',
        '-batch',
        '-config',
        configuration,
        '-selfsign',
        '-keyfile',
        key,
        '-in',
        join(folder, 'old.csr'),
        '-out',
        certificate,
        ...dates,
      ],
      { stdio: 'ignore' },
    );
    const user = `client-certificate: ${certificate}, client-key: ${key}`;
    await refuses(
      ['--kubeconfig', kubeconfig('expired', 'https://127.0.0.1:6443', user)],
      'client certificate (CN=old-admin) expired on',
      '2021',
      'Get a new kubeconfig',
    );
  });

  it('a tarball for --rerun-failed that is unreadable, or holds nothing', async () => {
    await refuses(
      ['--rerun-failed', written('broken.tar.gz', 'not an archive')],
      'broken.tar.gz is not a readable tar.gz',
      '->',
    );
    await refuses(['--rerun-failed', join(folder, 'absent.tar.gz')], 'absent.tar.gz does not exist', '->');
    mkdirSync(join(folder, 'nothing'));
    await refuses(['--rerun-failed', join(folder, 'nothing')], 'holds neither', '->');
  });
});

describe('plumb report on a full disk', function () {
  this.timeout(60_000);
  let disk: string;
  let results: string;
  before(function () {
    disk = join(folder, 'disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'plumb-test', disk], { stdio: 'ignore' });
    } catch {
      this.skip();
    }
    results = join(folder, 'run');
    mkdirSync(results);
    writeFileSync(join(results, 'events.jsonl'), sampleEvents.map((event) => `${JSON.stringify(event)}\n`).join(''));
  });
  after(() => execFileSync('umount', [disk]));

  it('names the path and the remedy, keeps what was there, leaves no half file', async () => {
    writeFileSync(join(disk, 'junit_01.xml'), 'the report of yesterday');
    const filler = join(disk, 'filler');
    expect(() => {
      for (;;) appendFileSync(filler, Buffer.alloc(4096));
    }).to.throw('ENOSPC');
    const { code, output } = await plumb(['report', results, '--output', disk, '--quiet']);
    expect(output)
      .to.contain(`cannot write ${join(disk, 'report.html')}`)
      .and.to.contain('The disk is full.');
    expect(code).to.equal(2);
    expect(readFileSync(join(disk, 'junit_01.xml'), 'utf8')).to.equal('the report of yesterday');
    expect(readdirSync(disk).filter((name) => name.endsWith('.partial'))).to.deep.equal([]);
  });
});

describe('plumb report', function () {
  this.timeout(30_000);
  it('ends with the exit code of the run, also from the tarball', async () => {
    const results = join(folder, 'again');
    mkdirSync(results);
    writeFileSync(join(results, 'events.jsonl'), sampleEvents.map((event) => `${JSON.stringify(event)}\n`).join(''));
    expect(await plumb(['report', results])).to.have.property('code', 1);
    const tarball = readdirSync(results).find((name) => name.endsWith('.tar.gz')) ?? '';
    const { code, output } = await plumb(['results', join(results, tarball)]);
    expect(output).to.contain('Plugin: e2e\nStatus: failed\nTotal: 6\nPassed: 2\nFailed: 1\nSkipped: 1\nunknown: 2\n');
    expect(code).to.equal(1);
    expect(await plumb(['diff', results, join(results, tarball)])).to.deep.include({
      code: 0,
      output: 'no difference in 6 cases\n',
    });
  });
});

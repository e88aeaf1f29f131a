// SPDX-License-Identifier: Apache-2.0
// Everyday kubectl work that needs nodes: run, logs, exec, attach, cp, port-forward, expose, rollout, wait, drain. With each kubectl
// that the machine has, on the cluster whose kubeconfig PLUMB_E2E_KUBECONFIG names.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { projectVersion } from './add-ons.ts';
import { kubectlBinaries } from './kubectl-binaries.ts';

const kubeconfig = process.env['PLUMB_E2E_KUBECONFIG'] ?? '';
const image = `plumbline.local/probe:${projectVersion()}`;
const restricted = { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } };

for (const { version, path } of kubectlBinaries(['1.29', '1.32'])) {
  describe(`everyday work with kubectl ${version}`, function () {
    this.timeout(120_000);
    const namespace = `everyday-${version.replace(/[^0-9a-z]/gi, '-').toLowerCase()}`;
    const scratch = mkdtempSync(join(tmpdir(), 'plumb-everyday-'));

    async function kubectl(args: readonly string[], input = ''): Promise<string> {
      const child = promisify(execFile)(path, ['-n', namespace, ...args], {
        env: { ...process.env, KUBECONFIG: kubeconfig, HOME: scratch },
        maxBuffer: 2 ** 26,
      });
      child.child.stdin?.end(input);
      return child.then(
        ({ stdout }) => stdout,
        (error: { message: string; stderr: string }) => {
          throw new Error(`${error.message}\n${error.stderr}`);
        },
      );
    }

    function start(args: readonly string[]) {
      return spawn(path, ['-n', namespace, ...args], {
        env: { ...process.env, KUBECONFIG: kubeconfig, HOME: scratch },
      });
    }

    before(async () => {
      await kubectl(['create', 'namespace', namespace]);
      const overrides = { spec: { terminationGracePeriodSeconds: 0, securityContext: restricted } };
      await kubectl([
        'run',
        'shell',
        `--image=${image}`,
        '--image-pull-policy=IfNotPresent',
        `--overrides=${JSON.stringify(overrides)}`,
        '--command',
        '--',
        '/bin/sh',
        '-c',
        'echo first line; trap exit TERM; n=0; while true; do echo tick $n; n=$((n+1)); sleep 1; done',
      ]);
      await kubectl(['wait', '--for=condition=Ready', 'pod/shell', '--timeout=60s']);
    });
    after(async () => {
      await kubectl(['delete', 'namespace', namespace, '--wait=false']);
      rmSync(scratch, { recursive: true });
    });

    it('reads logs: tail, since, timestamps, and follows', async () => {
      expect(await kubectl(['logs', 'shell'])).to.match(/^first line\n/);
      expect((await kubectl(['logs', 'shell', '--tail=1'])).trim().split('\n')).to.have.length(1);
      expect(await kubectl(['logs', 'shell', '--timestamps', '--tail=1'])).to.match(/^\d{4}-\d\d-\d\dT\S+ tick/);
      const follow = start(['logs', '-f', 'shell', '--tail=0']);
      const [line] = (await once(createInterface({ input: follow.stdout }), 'line')) as [string];
      follow.kill();
      expect(line).to.match(/^tick \d+$/);
    });

    it('executes commands: output apart, exit code, standard input to its end, a terminal', async () => {
      expect(await kubectl(['exec', 'shell', '--', 'sh', '-c', 'echo out; echo err >&2'])).to.equal('out\n');
      const failed = await kubectl(['exec', 'shell', '--', 'sh', '-c', 'exit 7']).catch(
        (error: Error) => error.message,
      );
      expect(failed).to.contain('exit code 7');
      const text = 'a line\n'.repeat(20_000);
      expect(await kubectl(['exec', '-i', 'shell', '--', 'md5sum'], text)).to.match(/^[0-9a-f]{32} /);
      expect(await kubectl(['exec', '-i', 'shell', '--', 'wc', '-c'], text)).to.equal(`${text.length}\n`);
      // script(1) is the terminal that a person would sit at.
      const terminal = await promisify(execFile)(
        'script',
        ['-qec', `${path} -n ${namespace} exec -it shell -- sh -c 'tty; stty size'`, '/dev/null'],
        { env: { ...process.env, KUBECONFIG: kubeconfig, HOME: scratch } },
      );
      expect(terminal.stdout).to.match(/\/dev\/(pts\/\d+|console)/);
    });

    it('attaches to the running process', async () => {
      const attached = start(['attach', 'shell']);
      const lines = createInterface({ input: attached.stdout });
      const [line] = (await once(lines, 'line')) as [string];
      attached.kill();
      expect(line).to.match(/^tick \d+$/);
    });

    it('copies files there and back', async () => {
      const file = join(scratch, 'there.bin');
      const content = Buffer.alloc(300_000, 'plumb');
      writeFileSync(file, content);
      await kubectl(['cp', file, 'shell:/tmp/copied.bin']);
      await kubectl(['cp', 'shell:/tmp/copied.bin', join(scratch, 'back.bin')]);
      expect(readFileSync(join(scratch, 'back.bin')).equals(content)).to.equal(true);
    });

    it('forwards a port, to several connections', async () => {
      await kubectl([
        'exec',
        'shell',
        '--',
        'sh',
        '-c',
        'mkdir -p /tmp/www && seq 1 100000 > /tmp/www/numbers && busybox httpd -p 8088 -h /tmp/www',
      ]);
      const forward = start(['port-forward', 'shell', ':8088']);
      try {
        const [line] = (await once(createInterface({ input: forward.stdout }), 'line')) as [string];
        const port = /127\.0\.0\.1:(\d+)/.exec(line)?.[1] ?? '';
        const fetched = await Promise.all([1, 2, 3].map(() => fetchBody(`http://127.0.0.1:${port}/numbers`)));
        for (const body of fetched) expect(body.length).to.equal(588_895);
      } finally {
        forward.kill();
      }
    });

    it('creates, exposes, scales, updates, watches and rolls back a deployment', async () => {
      const container = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
      const template = (message: string) => ({
        metadata: { labels: { app: 'web' } },
        spec: {
          terminationGracePeriodSeconds: 0,
          securityContext: restricted,
          containers: [
            {
              name: 'web',
              image,
              imagePullPolicy: 'IfNotPresent',
              securityContext: container,
              env: [
                { name: 'PLUMB_LISTEN', value: 'tcp/8080' },
                { name: 'MESSAGE', value: message },
              ],
            },
          ],
        },
      });
      const deployment = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web' },
        spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template: template('one') },
      };
      await kubectl(['apply', '-f', '-'], JSON.stringify(deployment));
      await kubectl(['rollout', 'status', 'deployment/web', '--timeout=60s']);
      await kubectl(['expose', 'deployment', 'web', '--port=80', '--target-port=8080']);
      await kubectl(['scale', 'deployment', 'web', '--replicas=2']);
      await kubectl(['set', 'env', 'deployment/web', 'MESSAGE=two']);
      await kubectl(['rollout', 'status', 'deployment/web', '--timeout=60s']);
      expect(await kubectl(['rollout', 'history', 'deployment/web'])).to.match(/^2 /m);
      await kubectl(['rollout', 'undo', 'deployment/web']);
      await kubectl(['rollout', 'status', 'deployment/web', '--timeout=60s']);
      expect(
        await kubectl(['get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[0].spec.containers[0].env[1].value}']),
      ).to.equal('one');
      expect(await kubectl(['get', 'endpointslices', '-l', 'kubernetes.io/service-name=web', '-o', 'name'])).to.contain(
        'endpointslice',
      );
      expect(await kubectl(['describe', 'deployment', 'web'])).to.contain('ScalingReplicaSet');
      expect(
        await kubectl(['exec', 'shell', '--', 'busybox', 'wget', '-q', '-O', '-', 'http://web/hostname']),
      ).to.match(/^web-/);
    });

    it('drains a node and gives it back', async () => {
      const node = await kubectl(['get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[0].spec.nodeName}']);
      try {
        await kubectl([
          'drain',
          node,
          '--ignore-daemonsets',
          '--delete-emptydir-data',
          '--force',
          '--timeout=60s',
          `--pod-selector=app=web`,
        ]);
        expect(await kubectl(['get', 'node', node])).to.contain('SchedulingDisabled');
        await kubectl(['rollout', 'status', 'deployment/web', '--timeout=60s']);
        const nodes = await kubectl(['get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].spec.nodeName}']);
        expect(nodes.split(' ')).not.to.include(node);
      } finally {
        await kubectl(['uncordon', node]);
      }
    });

    it('says that metrics are not available, and deletes what it made', async () => {
      const message = await kubectl(['top', 'nodes']).catch((error: Error) => error.message);
      expect(message).to.match(/Metrics API not available|CPU/);
      await kubectl(['delete', 'deployment,service', '--all']);
      await kubectl(['delete', 'pod', 'shell', '--timeout=30s']);
      expect(await kubectl(['get', 'pods', '-l', 'run=shell', '-o', 'name'])).to.equal('');
    });
  });
}

function fetchBody(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve(body));
      response.on('error', reject);
    }).on('error', reject);
  });
}

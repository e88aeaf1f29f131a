// SPDX-License-Identifier: Apache-2.0
// Policies on a whole cluster, the one whose kubeconfig PLUMB_E2E_KUBECONFIG names: from a pod's first packet on, without the agent, and
// for connections that are there already.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';

const kubeconfig = process.env['PLUMB_E2E_KUBECONFIG'] ?? '';
const project = join(import.meta.dirname, '../../..');
const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { version: string };
const run = promisify(execFile);

describe('policies in force', function () {
  this.timeout(120_000);
  const namespace = `policy-${randomBytes(3).toString('hex')}`;
  const cluster = dirname(kubeconfig).split('/').at(-1) ?? '';
  let server = '';
  let node = '';

  const kubectl = async (args: readonly string[], input?: object): Promise<string> => {
    const child = run('kubectl', ['-n', namespace, ...args], { env: { ...process.env, KUBECONFIG: kubeconfig } });
    child.child.stdin?.end(input === undefined ? '' : JSON.stringify(input));
    return (await child).stdout.trim();
  };
  const service = (): string => join(dirname(kubeconfig), 'nodes', node, 'services', 'network-agent');
  const onNode = async (...command: string[]): Promise<string> => {
    const main = join(project, 'cluster/boot/main.ts');
    const env = { ...process.env, PLUMB_STATE_DIR: join(dirname(kubeconfig), '../..') };
    return (await run(process.execPath, [main, 'exec', '--name', cluster, node, '--', ...command], { env })).stdout;
  };
  const pod = (name: string, script: string): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      nodeName: node || undefined,
      containers: [{ name: 'main', image: `plumbline.local/probe:${version}`, command: ['/bin/sh', '-c', script] }],
    },
  });
  const policy = (name: string, spec: object): object => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name },
    spec,
  });
  const reaches = async (seconds = 1): Promise<boolean> => {
    const command = `echo | nc -w ${seconds} ${server} 8080`;
    return (await kubectl(['exec', 'client', '--', 'sh', '-c', `${command} || true`])).includes('hello');
  };
  const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
    const end = Date.now() + 20_000;
    while (!(await holds())) if (Date.now() > end) throw new Error(`${what} did not come true within 20 s`);
  };

  before(async () => {
    await kubectl(['create', 'namespace', namespace]);
    await kubectl(['create', '-f', '-'], pod('server', 'nc -ll -p 8080 -e echo hello & nc -ll -p 8081 -e cat'));
    await kubectl(['wait', '--for=condition=Ready', 'pod/server', '--timeout=60s']);
    server = await kubectl(['get', 'pod', 'server', '-o', 'jsonpath={.status.podIP}']);
    node = await kubectl(['get', 'pod', 'server', '-o', 'jsonpath={.spec.nodeName}']);
    await kubectl(['create', '-f', '-'], pod('client', 'sleep 1000'));
    await kubectl(['wait', '--for=condition=Ready', 'pod/client', '--timeout=60s']);
    await until('the open connection', () => reaches());
  });

  after(async () => {
    await onNode('sv', 'up', service()).catch(() => '');
    await kubectl(['delete', 'clusternetworkpolicy', namespace, '--ignore-not-found']);
    await kubectl(['delete', 'namespace', namespace, '--wait=false']);
  });

  it('hold for the first packet of a new pod', async () => {
    await kubectl(
      ['create', '-f', '-'],
      policy('no-egress', { podSelector: { matchLabels: { app: 'newborn' } }, policyTypes: ['Egress'] }),
    );
    const attempts = `n=0; ok=0; while [ $n -lt 40 ]; do echo | nc -w 1 ${server} 8080 2>/dev/null | grep -q hello && ok=$((ok+1)); n=$((n+10)); done; echo ok=$ok`;
    await kubectl(['create', '-f', '-'], pod('newborn', attempts));
    await kubectl(['wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/newborn', '--timeout=60s']);
    expect(await kubectl(['logs', 'newborn'])).to.equal('ok=0');
    // The same pod under another name, which no policy selects, gets through: the denial was the policy's.
    await kubectl(['create', '-f', '-'], pod('control', attempts));
    await kubectl(['wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/control', '--timeout=60s']);
    expect(await kubectl(['logs', 'control'])).to.equal('ok=4');
  });

  it('stay when the agent is killed, and catch up when it is back', async () => {
    await kubectl(['create', '-f', '-'], policy('closed', { podSelector: { matchLabels: { app: 'server' } } }));
    await until('the denial', async () => !(await reaches()));
    const drops = new RegExp(`counter np/${namespace}/closed/ingress/drop \\{\\s+comment "[^"]+"\\s+packets [1-9]`);
    expect(await onNode('nft', 'list', 'counters')).to.match(drops);
    await onNode('sv', 'once', service());
    await onNode('sv', 'kill', service());
    await until('the end of the agent', async () => !(await onNode('sv', 'status', service())).startsWith('run:'));
    await kubectl(['delete', 'networkpolicy', 'closed']);
    await kubectl(['create', '-f', '-'], policy('other', { podSelector: { matchLabels: { app: 'newborn' } } }));
    expect(await reaches()).to.equal(false);
    expect(await onNode('nft', 'list', 'table', 'inet', 'plumb_policy')).to.contain(`${namespace}/closed`);
    await onNode('sv', 'up', service());
    await until('the reopening', () => reaches());
    expect(await onNode('nft', 'list', 'table', 'inet', 'plumb_policy')).to.not.contain(`${namespace}/closed`);
  });

  it('cut connections that are no longer allowed, also by a cluster policy, and spare the others', async () => {
    const lines = 'n=0; while [ $n -lt 2000 ]; do echo line $n; n=$((n+1)); sleep 0.1; done';
    // Nothing of it may hold on to the exec's own output, or the exec would last as long.
    const talk = `(( ${lines} ) | nc ${server} 8081 > /tmp/heard) > /dev/null 2>&1 &`;
    await kubectl(['exec', 'client', '--', 'sh', '-c', talk]);
    const heard = async (): Promise<number> =>
      Number(await kubectl(['exec', 'client', '--', 'sh', '-c', 'wc -l < /tmp/heard']));
    await until('an exchange', async () => (await heard()) > 3);
    const subject = {
      pods: {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
        podSelector: { matchLabels: { app: 'client' } },
      },
    };
    const cnp = (action: string): object => ({
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: namespace },
      spec: { tier: 'Admin', priority: 10, subject, egress: [{ action, to: [{ networks: ['0.0.0.0/0'] }] }] },
    });
    await kubectl(['apply', '-f', '-'], cnp('Accept'));
    const before = await heard();
    await until('more of the exchange under an allowing policy', async () => (await heard()) > before + 5);
    await kubectl(['apply', '-f', '-'], cnp('Deny'));
    await until('the denial', async () => !(await reaches()));
    const cutAt = await heard();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await heard()).to.be.at.most(cutAt + 1);
  });
});

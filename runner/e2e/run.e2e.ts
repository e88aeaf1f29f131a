// SPDX-License-Identifier: Apache-2.0
/** Whole runs of the real command against a real cluster: the one whose kubeconfig PLUMB_E2E_KUBECONFIG names. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CoreV1Api, KubeConfig, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node';
import { expect } from 'chai';
import { parse, stringify } from 'yaml';
import { runIdLabel } from '../execute/run-labels.ts';
import { decodeEvents } from '../results/decode.ts';
import type { CaseFinished, ResultEvent } from '../results/events.ts';
import { plumb, startPlumb } from './plumb-process.ts';

const kubeconfig = process.env['PLUMB_E2E_KUBECONFIG'] ?? '';
const suites = fileURLToPath(new URL('suites/', import.meta.url));

let folder: string;
let core: CoreV1Api;

before(function () {
  if (kubeconfig === '') this.skip();
  folder = mkdtempSync(join(tmpdir(), 'plumb-run-'));
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  core = config.makeApiClient(CoreV1Api);
});
after(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

const arguments_ = (output: string, ...more: readonly string[]): string[] => [
  'run',
  '--kubeconfig',
  kubeconfig,
  '--suites',
  suites,
  '--output',
  join(folder, output),
  ...more,
];

function resultsOf(output: string): {
  directory: string;
  files: string[];
  events: ResultEvent[];
  cases: Map<string, CaseFinished>;
} {
  const [run] = readdirSync(join(folder, output));
  const directory = join(folder, output, run ?? '');
  const { events } = decodeEvents(readFileSync(join(directory, 'events.jsonl'), 'utf8'));
  const finished = events.filter((event) => event.type === 'case-finished');
  return {
    directory,
    files: readdirSync(directory),
    events,
    cases: new Map(finished.map((event) => [event.caseId, event])),
  };
}

async function leftBehind(): Promise<string[]> {
  const { items } = await core.listNamespace({ labelSelector: runIdLabel });
  return items.map((item) => item.metadata?.name ?? '');
}

describe('plumb run', function () {
  this.timeout(180_000);

  it('passes with 0 and leaves reports, but nothing in the cluster, also not of a run that was killed long ago', async () => {
    await core.createNamespace({
      body: { metadata: { name: 'plumb-long-gone', labels: { [runIdLabel]: 'long-gone' } } },
    });
    const { code, output } = await plumb(arguments_('passing', '--mode', 'quick'));
    expect(code, output).to.equal(0);
    expect(output).to.contain('removed 1 objects of long-gone');
    const { files, cases, events } = resultsOf('passing');
    expect([...cases.values()].map((one) => one.status)).to.deep.equal(['passed', 'passed']);
    expect(files).to.include.members([
      'events.jsonl',
      'junit_01.xml',
      'plumb-results.json',
      'report.html',
      'metrics.prom',
      'snapshot',
    ]);
    expect(files.filter((name) => /^\d{12}_sonobuoy_[0-9a-f-]{36}\.tar\.gz$/.test(name))).to.have.length(1);
    const sections = events.filter((event) => event.type === 'snapshot-section');
    expect(sections.map((one) => one.name)).to.deep.equal([
      'serverversion',
      'servergroups',
      'resources',
      'podlogs',
      'hosts',
    ]);
    expect(await leftBehind()).to.deep.equal([]);
  });

  it('fails with 1, with evidence, tells GitHub, and can repeat just that', async () => {
    const summary = join(folder, 'step-summary.md');
    const github = { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary };
    const first = await plumb(arguments_('failing', '--mode', 'network', '--no-snapshot'), github);
    expect(first.code, first.output).to.equal(1);
    expect(first.output).to.contain('::error title=[api] A wrong expectation fails::AssertionError');
    expect(readFileSync(summary, 'utf8')).to.contain('## Plumbline: failed');
    const { directory, cases } = resultsOf('failing');
    expect(cases.get('api.engine.fails')?.error).to.include({ name: 'AssertionError' });
    expect(readFileSync(join(directory, 'evidence/api.engine.fails/explanation.txt'), 'utf8')).to.equal(
      'It was never there.',
    );
    const again = await plumb(arguments_('again', '--rerun-failed', directory, '--no-snapshot'));
    expect(again.code, again.output).to.equal(1);
    expect([...resultsOf('again').cases.keys()]).to.deep.equal(['api.engine.fails']);
  });

  it('stops in order on Ctrl-C: cleaned up, reported, the rest skipped, 3', async () => {
    const run = startPlumb(arguments_('interrupted', '--focus', 'waits|cluster-scoped', '--verbose', '--no-snapshot'));
    await run.seen(/waiting now/);
    run.child.kill('SIGINT');
    const { code, output } = await run.ended;
    expect(code, output).to.equal(3);
    expect(output).to.contain('INCONCLUSIVE').and.to.contain('the run was interrupted');
    const { cases, files } = resultsOf('interrupted');
    expect([...cases.values()].map(({ caseId, status, reason }) => ({ caseId, status, reason }))).to.deep.equal([
      { caseId: 'api.engine.waits', status: 'skipped', reason: 'interrupted' },
      { caseId: 'api.engine.cluster-scoped', status: 'skipped', reason: 'interrupted' },
    ]);
    expect(files).to.include('report.html');
    expect(await leftBehind()).to.deep.equal([]);
  });

  it('goes on to its end when nobody reads its output any more', async () => {
    const run = startPlumb(arguments_('unread', '--mode', 'quick'));
    await run.seen(/API server/);
    run.child.stdout?.destroy();
    run.child.stderr?.destroy();
    const { code } = await run.ended;
    expect(code).to.equal(0);
    const { files, cases } = resultsOf('unread');
    expect([...cases.values()].map((one) => one.status)).to.deep.equal(['passed', 'passed']);
    expect(files).to.include('junit_01.xml');
    expect(await leftBehind()).to.deep.equal([]);
  });

  it('ends at once on Ctrl-C twice and says how to clean up, which works', async () => {
    const run = startPlumb(arguments_('twice', '--focus', 'waits', '--verbose'));
    await run.seen(/waiting now/);
    run.child.kill('SIGINT');
    await run.seen(/once more ends at once/);
    run.child.kill('SIGINT');
    const { code, output } = await run.ended;
    expect(code, output).to.equal(3);
    const command = /plumb (cleanup --run-id \S+)/.exec(output)?.[1] ?? '';
    const cleanup = await plumb([...command.split(' '), '--kubeconfig', kubeconfig, '--force']);
    expect(cleanup.code, cleanup.output).to.equal(0);
    expect(await leftBehind()).to.deep.equal([]);
  });

  it('is cleaned up after by `plumb cleanup` when it was killed, which spares what carries no id', async () => {
    const run = startPlumb(arguments_('killed', '--focus', 'waits', '--verbose'));
    await run.seen(/waiting now/);
    run.child.kill('SIGKILL');
    await run.ended;
    expect(await leftBehind()).not.to.deep.equal([]);
    const careful = await plumb(['cleanup', '--kubeconfig', kubeconfig]);
    expect(careful.output).to.contain('is going on: left alone');
    const cleanup = await plumb(['cleanup', '--kubeconfig', kubeconfig, '--force']);
    expect(cleanup.code, cleanup.output).to.equal(0);
    expect(await leftBehind()).to.deep.equal([]);
    expect((await core.listNamespace()).items.map((item) => item.metadata?.name)).to.include.members([
      'default',
      'kube-system',
    ]);
  });

  it('refuses a user without rights, and says which are missing', async () => {
    const name = 'plumb-no-rights';
    await core.createNamespacedServiceAccount({ namespace: 'default', body: { metadata: { name } } });
    try {
      const { status } = await core.createNamespacedServiceAccountToken({
        name,
        namespace: 'default',
        body: { spec: { audiences: [] } },
      });
      const file = join(folder, 'no-rights');
      const document = parse(readFileSync(kubeconfig, 'utf8')) as { users: { user: object }[] };
      for (const user of document.users) user.user = { token: status?.token };
      writeFileSync(file, stringify(document));
      const { code, output } = await plumb([
        'run',
        '--kubeconfig',
        file,
        '--suites',
        suites,
        '--output',
        join(folder, 'rights'),
        '--mode',
        'quick',
      ]);
      expect(code, output).to.equal(2);
      expect(output).to.contain('may not list nodes, create namespaces').and.to.contain('cluster-admin');
    } finally {
      await core.deleteNamespacedServiceAccount({ name, namespace: 'default' });
    }
  });

  it('waits for an API server that goes away, goes on, and says so', async () => {
    const door = await openDoor();
    try {
      const run = startPlumb(
        arguments_('away', '--focus', 'lists', '--verbose', '--no-snapshot', '--kubeconfig', door.kubeconfig),
      );
      await run.seen(/listing now/);
      door.shut();
      await run.seen(/the API server does not answer/);
      door.open();
      const { code, output } = await run.ended;
      expect(output).to.contain('the API server answers again after');
      expect(code, output).to.equal(0);
    } finally {
      door.close();
    }
  });

  it('goes on when a node dies in the middle, and says so', async () => {
    const name = 'plumb-ghost';
    const ready = (status: string) => ({
      status: {
        conditions: [{ type: 'Ready', status, reason: 'Ghost', message: 'kubelet stopped posting node status' }],
      },
    });
    await core.createNode({ body: { metadata: { name }, spec: { unschedulable: true } } });
    try {
      await core.patchNodeStatus(
        { name, body: ready('True') },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
      const run = startPlumb(arguments_('node', '--focus', 'waits', '--verbose', '--no-snapshot', '--timeout', '20s'));
      await run.seen(/waiting now/);
      await core.patchNodeStatus(
        { name, body: ready('False') },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
      );
      await run.seen(/node plumb-ghost is not Ready: kubelet stopped posting node status/);
      const { code, output } = await run.ended;
      expect(output).to.contain('has taken the 20 s of --timeout');
      expect(code, output).to.equal(3);
      expect(await leftBehind()).to.deep.equal([]);
    } finally {
      await core.deleteNode({ name });
    }
  });

  it('gives up when the API server stays away: inconclusive, 3, and the way to clean up', async () => {
    const door = await openDoor();
    try {
      const run = startPlumb(
        arguments_('gone', '--focus', 'lists', '--verbose', '--api-wait', '4s', '--kubeconfig', door.kubeconfig),
      );
      await run.seen(/listing now/);
      door.shut();
      const { code, output } = await run.ended;
      expect(code, output).to.equal(3);
      expect(output)
        .to.contain('has not answered for 4 s')
        .and.to.match(/plumb cleanup --run-id/);
    } finally {
      door.close();
      await plumb(['cleanup', '--kubeconfig', kubeconfig, '--force']);
    }
  });
});

interface Door {
  readonly kubeconfig: string;
  shut(): void;
  open(): void;
  close(): void;
}

/** A way to the API server that can be shut: a TCP relay, with a kubeconfig that goes through it. */
async function openDoor(): Promise<Door> {
  const document = parse(readFileSync(kubeconfig, 'utf8')) as { clusters: { cluster: Record<string, string> }[] };
  const cluster = document.clusters[0]?.cluster ?? {};
  const target = new URL(cluster['server'] ?? '');
  const sockets = new Set<Socket>();
  let isOpen = true;
  const relay: Server = createServer((near) => {
    if (!isOpen) {
      near.destroy();
      return;
    }
    const far = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy()).on('close', () => sockets.delete(one));
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = relay.address();
  cluster['server'] = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  cluster['tls-server-name'] = 'kubernetes';
  const path = join(folder, `door-${Date.now()}`);
  writeFileSync(path, stringify(document));
  const shut = (): void => {
    isOpen = false;
    for (const socket of sockets) socket.destroy();
  };
  return {
    kubeconfig: path,
    shut,
    open: () => (isOpen = true),
    close: () => {
      shut();
      relay.close();
    },
  };
}

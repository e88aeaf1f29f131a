// SPDX-License-Identifier: Apache-2.0
// A cluster from up to down on this machine, with the accidents that it must survive and the traces that it must not
// leave. Needs root.

import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Node } from '../machinery/api-types.ts';
import { Client } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';
import { cgroupClusters, cgroupPids, hostCgroups } from '../machines/cgroups.ts';
import { run } from '../machines/command.ts';
import { hostLinkName } from '../machines/lan.ts';
import { until } from '../machines/until.ts';
import { isReady } from './readiness.ts';
import { componentRows } from './status.ts';
import { readState, type ClusterState } from './state.ts';

const name = 'boot-e2e';
const neighbour = 'boot-e2e-two';

describe('a cluster on this machine', function () {
  this.timeout(240_000);
  this.bail(true);
  let stateDirectory: string;
  let rulesBefore: string;

  before(async () => {
    stateDirectory = mkdtempSync(join(tmpdir(), 'plumb-e2e-'));
    process.env['PLUMB_STATE_DIR'] = stateDirectory;
    rulesBefore = await run(['nft', 'list', 'ruleset']);
  });

  after(async () => {
    for (const cluster of [name, neighbour]) await plumb('down', '--name', cluster);
    delete process.env['PLUMB_STATE_DIR'];
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  it('comes up, with nodes Ready and DNS answering', async () => {
    const { code, stderr } = await plumb('up', '--name', name, '--workers', '1');
    expect(code, stderr).to.equal(0);
    expect(await readyNodes()).to.deep.equal([`${name}-control-plane`, `${name}-worker`]);
  });

  it('is found again by a second up, and refuses one that asks for something else', async () => {
    const init = stateOf().nodes.map((node) => node.init?.pid);
    await succeeds('up', '--name', name, '--workers', '1');
    expect(stateOf().nodes.map((node) => node.init?.pid)).to.deep.equal(init);
    const other = await plumb('up', '--name', name, '--workers', '2');
    expect(other.code).to.equal(1);
    expect(other.stderr).to.include('runs with workers 1, not 2').and.include('What to do: remove it with');
  });

  it('lets people into its nodes and logs, and says what there is when they ask for something else', async () => {
    const hostname = await plumb('exec', '--name', name, 'worker', '--', 'hostname');
    expect(hostname.stdout).to.equal(`${name}-worker\n`);
    expect((await plumb('exec', '--name', name, 'worker', '--', 'sh', '-c', 'exit 7')).code).to.equal(7);
    expect((await plumb('logs', '--name', name, 'worker', 'containerd')).stdout).to.include('containerd');
    const wrongNode = await plumb('exec', '--name', name, 'nowhere', '--', 'true');
    expect(wrongNode).to.deep.include({ code: 2 });
    expect(wrongNode.stderr).to.include(`${name}-control-plane, ${name}-worker`);
    const wrongComponent = await plumb('logs', '--name', name, 'worker', 'nothing');
    expect(wrongComponent.code).to.equal(2);
    expect(wrongComponent.stderr).to.include('kubelet');
    expect((await plumb('up', '--name', 'Bad_Name')).code).to.equal(2);
    expect((await plumb('status', '--name', 'no-such')).stderr).to.include(name);
  });

  it('gets over kill -9 of every component', async () => {
    const rows = componentRows(stateOf()).filter((row) => row.pid !== undefined);
    expect(rows.length).to.be.greaterThan(9);
    for (const { pid } of rows) if (pid !== undefined) process.kill(pid, 'SIGKILL');
    const restarted = (): boolean =>
      componentRows(stateOf()).every(
        (row) => row.component.startsWith('(') || (row.pid !== undefined && !rows.some((old) => old.pid === row.pid)),
      );
    await until(restarted, { what: 'the supervisors to start everything again', timeoutMs: 30_000 });
    await succeeds('up', '--name', name, '--workers', '1');
  });

  it('has room for a neighbour, and losing one of them leaves the other alone', async () => {
    const up = await plumb('up', '--name', neighbour, '--workers', '0', '--no-wait');
    expect(up.code, up.stderr).to.equal(0);
    expect(readState(neighbour)?.prefix).to.not.equal(stateOf().prefix);
    expect((await plumb('list')).stdout)
      .to.include(name)
      .and.include(neighbour);
    await succeeds('down', '--name', neighbour);
    expect(tracesOf(neighbour)).to.deep.equal([]);
    expect(await readyNodes()).to.have.length(2);
  });

  it('switches a node off and on again', async () => {
    await succeeds('stop', '--name', name, 'worker');
    expect(cgroupPids(hostCgroups(), name, `${name}-worker`)).to.deep.equal([]);
    expect((await plumb('kubeconfig', '--name', name)).stderr).to.include('does not run');
    const start = await plumb('start', '--name', name, 'worker');
    expect(start.code, start.stderr).to.equal(0);
    await succeeds('up', '--name', name, '--workers', '1');
  });

  it('goes without a trace, though its state is lost and its processes were killed in the wrong order', async () => {
    const state = stateOf();
    process.kill(state.lan?.holder.pid ?? 0, 'SIGKILL');
    process.kill(state.nodes[1]?.parent?.pid ?? 0, 'SIGKILL');
    rmSync(join(stateDirectory, 'clusters', name, 'cluster.json'));
    await succeeds('down', '--name', name);
    expect(tracesOf(name)).to.deep.equal([]);
    expect(await run(['nft', 'list', 'ruleset'])).to.equal(rulesBefore);
    await succeeds('down', '--name', name);
  });

  function stateOf(): ClusterState {
    const state = readState(name);
    if (state === undefined) throw new Error(`no state of ${name}`);
    return state;
  }

  async function readyNodes(): Promise<string[]> {
    const client = Client.fromKubeconfig(join(stateDirectory, 'clusters', name, 'kubeconfig'));
    try {
      const { items } = await client.list<Node>(resources.nodes);
      return items
        .filter(isReady)
        .map((node) => node.metadata.name ?? '')
        .toSorted();
    } finally {
      client.close();
    }
  }

  /** Whatever is left of a cluster on the host: control groups, processes, links, mounts, files. */
  function tracesOf(cluster: string): string[] {
    const directory = join(stateDirectory, 'clusters', cluster);
    const processes = readdirSync('/proc').filter(
      (pid) => /^\d+$/.test(pid) && read(`/proc/${pid}/cmdline`).includes(`${directory}/`),
    );
    return [
      ...cgroupClusters(hostCgroups()).filter((one) => one === cluster),
      ...processes.map((pid) => `process ${pid}`),
      ...readdirSync('/sys/class/net').filter((link) => link === hostLinkName(cluster)),
      ...read('/proc/self/mountinfo')
        .split('\n')
        .filter((line) => line.includes(directory)),
      ...(existsSync(directory) ? [directory] : []),
    ];
  }
});

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function succeeds(...args: string[]): Promise<void> {
  const { code, stderr } = await plumb(...args);
  expect(code, `plumb cluster ${args.join(' ')}: ${stderr}`).to.equal(0);
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function plumb(...args: string[]): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.on('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
  return promise;
}

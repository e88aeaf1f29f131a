// SPDX-License-Identifier: Apache-2.0
// A control plane for tests: etcd, the API server and the controller manager as processes on free ports of this host,
// with a scheduler and kubelets of a few lines that bind pods, call them Running and Ready, and let them go.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAuthority, createTokenKeys, issue } from '../boot/certificates.ts';
import type { Authority, LeafRequest } from '../boot/certificates.ts';
import type { Pod } from '../machinery/api-types.ts';
import { Client, isNotFound } from '../machinery/client.ts';
import { Informer, keyOf } from '../machinery/informer.ts';
import { resources } from '../machinery/resources.ts';
import { WorkQueue } from '../machinery/work-queue.ts';
import { timestamp } from './conditions.ts';
import { nodeOf } from './daemonset/nodes.ts';

const startTimeoutMs = 20_000;

export class TestCluster {
  readonly client: Client;
  readonly kubeconfig: string;
  readonly directory: string;
  readonly #children: ChildProcess[];

  private constructor(directory: string, kubeconfig: string, children: ChildProcess[]) {
    this.directory = directory;
    this.kubeconfig = kubeconfig;
    this.client = Client.fromKubeconfig(kubeconfig);
    this.#children = children;
  }

  /** Errors: which process did not come up, with the end of its log. */
  static async start(): Promise<TestCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'plumb-controllers-'));
    const path = (name: string): string => join(directory, name);
    const authority = await createAuthority('test-ca');
    writeFileSync(path('ca.crt'), authority.certificate);
    writeFileSync(path('ca.key'), authority.key);
    const tokens = createTokenKeys();
    writeFileSync(path('sa.pub'), tokens.publicKey);
    writeFileSync(path('sa.key'), tokens.privateKey);
    const hosts = ['127.0.0.1', 'localhost', '10.96.0.1', 'kubernetes.default.svc'];
    await writeLeaf(authority, path('server'), { commonName: 'kube-apiserver', hosts, usages: ['server', 'client'] });
    await writeLeaf(authority, path('admin'), {
      commonName: 'admin',
      organization: 'system:masters',
      usages: ['client'],
    });
    await writeLeaf(authority, path('manager'), { commonName: 'system:kube-controller-manager', usages: ['client'] });
    const [etcdPort = 0, peerPort = 0, apiPort = 0] = await freePorts(3);
    const server = `https://127.0.0.1:${apiPort}`;
    for (const name of ['admin', 'manager']) writeKubeconfig(directory, name, server);
    mkdirSync(path('etcd'), { mode: 0o700 });
    const etcdUrl = `https://127.0.0.1:${etcdPort}`;
    const peerUrl = `http://127.0.0.1:${peerPort}`;
    const children: ChildProcess[] = [];
    const launch = (name: string, command: string, args: string[]): void => {
      const out = openSync(path(`${name}.log`), 'w');
      children.push(spawn(command, args, { stdio: ['ignore', out, out] }));
      closeSync(out);
    };
    launch('etcd', 'etcd', [
      '--name',
      'test',
      '--data-dir',
      path('etcd'),
      '--unsafe-no-fsync',
      '--listen-client-urls',
      etcdUrl,
      '--advertise-client-urls',
      etcdUrl,
      '--listen-peer-urls',
      peerUrl,
      '--initial-advertise-peer-urls',
      peerUrl,
      '--initial-cluster',
      `test=${peerUrl}`,

      '--cert-file',
      path('server.crt'),
      '--key-file',
      path('server.key'),
      '--trusted-ca-file',
      path('ca.crt'),
      '--client-cert-auth',
    ]);
    launch('apiserver', process.execPath, [
      component('apiserver'),

      `--etcd-servers=${etcdUrl}`,
      `--etcd-cafile=${path('ca.crt')}`,
      `--etcd-certfile=${path('admin.crt')}`,
      `--etcd-keyfile=${path('admin.key')}`,

      `--client-ca-file=${path('ca.crt')}`,
      `--tls-cert-file=${path('server.crt')}`,
      `--tls-private-key-file=${path('server.key')}`,
      `--service-account-key-file=${path('sa.pub')}`,
      `--service-account-signing-key-file=${path('sa.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--service-cluster-ip-range=10.96.0.0/16',
      '--advertise-address=127.0.0.1',
      '--bind-address=127.0.0.1',
      `--secure-port=${apiPort}`,
    ]);
    const cluster = new TestCluster(directory, path('admin.kubeconfig'), children);
    try {
      await until(
        async () => (await cluster.client.raw('GET', '/readyz')).status === 200,
        `the API server is not ready`,
        startTimeoutMs,
      );
    } catch (error) {
      const log = readFileSync(path('apiserver.log'), 'utf8').slice(-2000);
      await cluster.stop();
      throw new Error(`the test cluster did not start:\n${log}`, { cause: error });
    }
    launch('manager', process.execPath, [
      component('controllers'),

      `--kubeconfig=${path('manager.kubeconfig')}`,
      `--root-ca-file=${path('ca.crt')}`,
      '--use-service-account-credentials',
      '--allocate-node-cidrs',
      '--cluster-cidr=10.244.0.0/16',
      '--secure-port=0',
      '--node-monitor-grace-period=3s',
      `--cluster-signing-cert-file=${path('ca.crt')}`,
      `--cluster-signing-key-file=${path('ca.key')}`,
      '--v=2',
      `--service-account-private-key-file=${path('sa.key')}`,
    ]);
    return cluster;
  }

  log(name: 'etcd' | 'apiserver' | 'manager'): string {
    return readFileSync(join(this.directory, `${name}.log`), 'utf8');
  }

  async stop(): Promise<void> {
    this.client.close();
    for (const child of this.#children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 3000);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Binds pods to nodes and plays their kubelets. `outcome` says what becomes of a pod once it runs; Ready when absent. */
export class HollowNodes {
  readonly pods: Informer<Pod>;
  readonly #client: Client;
  readonly #nodes: readonly string[];
  readonly #queue: WorkQueue;
  #next = 0;
  #address = 1;
  outcome: (pod: Pod) => 'ready' | 'not-ready' | 'succeeded' | { exitCode: number } = () => 'ready';

  constructor(client: Client, nodes: readonly string[]) {
    this.#client = client;
    this.#nodes = nodes;
    this.pods = new Informer<Pod>(client, resources.pods);
    this.#queue = new WorkQueue({ name: 'hollow-nodes', reconcile: (key) => this.#tend(key), backoff: { baseMs: 10 } });
    this.pods.onChange(({ object }) => this.#queue.add(keyOf(object)));
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const name of this.#nodes) {
      const labels = { 'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': `zone-${name}` };
      await this.#client.create(resources.nodes, { metadata: { name, labels } });
      await this.beat(name);
    }
    const timer = setInterval(
      () => void Promise.all(this.#alive().map((name) => this.beat(name))).catch(() => {}),
      1000,
    );
    signal.addEventListener('abort', () => clearInterval(timer));
    await this.pods.start(signal);
    this.#queue.start(signal);
  }

  /** Nodes that are silent from now on. */
  readonly silent = new Set<string>();

  /** A sign of life. */
  async beat(name: string): Promise<void> {
    const now = timestamp(Date.now());
    const condition = {
      type: 'Ready',
      status: 'True',
      reason: 'KubeletReady',
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    };
    const allocatable = { cpu: '4', memory: '8Gi', pods: '110' };
    const body = { status: { conditions: [condition], capacity: allocatable, allocatable } };
    await this.#client.patch(resources.nodes, name, { type: 'strategic', subresource: 'status', body });
  }

  /** Looks at all pods again, after `outcome` has changed. */
  retry(): void {
    for (const pod of this.pods.list()) this.#queue.add(keyOf(pod));
  }

  #alive(): string[] {
    return this.#nodes.filter((name) => !this.silent.has(name));
  }

  async #tend(key: string): Promise<void> {
    const [namespace = '', name = ''] = key.split('/');
    const pod = this.pods.get(name, namespace);
    if (!pod) return;
    const nodeName = pod.spec?.nodeName;
    if (nodeName && this.silent.has(nodeName)) return;
    try {
      if (pod.metadata.deletionTimestamp) {
        await this.#client.delete(resources.pods, name, { namespace, uid: pod.metadata.uid, gracePeriodSeconds: 0 });
      } else if (!nodeName) {
        const alive = this.#alive();
        const target = { kind: 'Node', name: nodeOf(pod) ?? alive[this.#next++ % alive.length] ?? '' };
        await this.#client.create(
          resources.pods,
          { metadata: { name, namespace }, target },
          { namespace, name, subresource: 'binding' },
        );
      } else await this.#report(pod);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async #report(pod: Pod): Promise<void> {
    const outcome = this.outcome(pod);
    const phase = outcome === 'succeeded' ? 'Succeeded' : typeof outcome === 'object' ? 'Failed' : 'Running';
    const status = outcome === 'ready' ? 'True' : 'False';
    const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready');
    if (pod.status?.phase === phase && ready?.status === status) return;
    const podIP = pod.status?.podIP ?? `10.244.0.${this.#address++}`;
    const exitCode = typeof outcome === 'object' ? outcome.exitCode : 0;
    const state = phase === 'Running' ? { running: {} } : { terminated: { exitCode } };
    const containerStatuses = pod.spec?.containers.map(({ name, image = '' }) => ({
      name,
      image,
      imageID: '',
      restartCount: 0,
      ready: status === 'True',
      state,
    }));
    const condition = { type: 'Ready', status, lastTransitionTime: timestamp(Date.now()) };
    const body = { status: { phase, podIP, podIPs: [{ ip: podIP }], conditions: [condition], containerStatuses } };
    const { name = '', namespace } = pod.metadata;
    await this.#client.patch(resources.pods, name, { namespace, type: 'strategic', subresource: 'status', body });
  }
}

/** Waits until `check` is true; its errors count as false. Errors: `what`, with the last error, after the time. */
export async function until(check: () => boolean | Promise<boolean>, what: string, timeoutMs = 10_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what} after ${timeoutMs / 1000} s`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

function component(name: string): string {
  return fileURLToPath(new URL(`../${name}/main.ts`, import.meta.url));
}

async function writeLeaf(authority: Authority, path: string, request: LeafRequest): Promise<void> {
  const { certificate, key } = await issue(authority, request);
  writeFileSync(`${path}.crt`, certificate);
  writeFileSync(`${path}.key`, key);
}

function writeKubeconfig(directory: string, name: string, server: string): void {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority': join(directory, 'ca.crt') } }],
    users: [
      {
        name,
        user: { 'client-certificate': join(directory, `${name}.crt`), 'client-key': join(directory, `${name}.key`) },
      },
    ],
    contexts: [{ name: 'test', context: { cluster: 'test', user: name } }],
  };
  writeFileSync(join(directory, `${name}.kubeconfig`), JSON.stringify(config));
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

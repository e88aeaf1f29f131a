// SPDX-License-Identifier: Apache-2.0
/**
 * A private etcd with an API server on it, ours or upstream's binary, on free ports and in a temporary directory; gone with the benchmark.
 * Our components are started as the embedded cluster starts them: bundled, with the same flags of Node.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiClient, endpointOf, type Endpoint } from './api-client.ts';
import type { Bench } from './benchmark.ts';
import { writePki, type Pki } from './pki.ts';
import { memoryOf, runChild, startChild, type Child, type Memory } from './processes.ts';

export const clusterProgram = [
  process.execPath,
  fileURLToPath(new URL('../cluster/boot/main.ts', import.meta.url)),
] as const;

export interface ControlPlane {
  /** An administrator's. */
  readonly endpoint: Endpoint;
  /** From the start of the API server's process to the first `ok` of /readyz, with etcd up already. */
  readonly readyMs: number;
  readonly etcd: Etcd;
  /** Writes a kubeconfig for another user and returns its path. */
  kubeconfig(user: string, group?: string): Promise<string>;
  memory(): { readonly apiserver: Memory; readonly etcd: Memory };
  /** Of the API server. */
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Etcd {
  readonly url: string;
  readonly pki: Pki;
}

const readyLimitMs = 60_000;
const pollMs = 10;

/** `binary` is a path of upstream's kube-apiserver; absent, ours is started. Errors carry the end of the server's log. */
export async function startControlPlane(bench: Bench, binary?: string): Promise<ControlPlane> {
  const directory = temporaryDirectory(bench);
  const port = await freePort();
  const server = `https://127.0.0.1:${port}`;
  const pki = await writePki(directory, server);
  const etcd = await startEtcd(bench, directory, pki);
  const program = binary === undefined ? await componentProgram(bench, 'kube-apiserver') : { command: [binary] };
  const admin = await pki.kubeconfig('admin', 'system:masters');
  const endpoint = endpointOf(admin);
  const start = performance.now();
  const apiserver = await startProgram(bench, program, [
    `--etcd-servers=${etcd.url}`,
    `--etcd-cafile=${pki.ca}`,
    `--etcd-certfile=${pki.certificate}`,
    `--etcd-keyfile=${pki.key}`,
    `--client-ca-file=${pki.ca}`,
    `--tls-cert-file=${pki.certificate}`,
    `--tls-private-key-file=${pki.key}`,
    `--service-account-key-file=${pki.tokenPublicKey}`,
    `--service-account-signing-key-file=${pki.tokenPrivateKey}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--advertise-address=127.0.0.1',
    '--bind-address=127.0.0.1',
    `--secure-port=${port}`,
    ...(binary === undefined ? [] : ['--authorization-mode=Node,RBAC', `--cert-dir=${directory}`]),
  ]);
  await untilReady(bench, endpoint, apiserver);
  return {
    endpoint,
    readyMs: performance.now() - start,
    etcd,
    kubeconfig: (user, group) => pki.kubeconfig(user, group),
    memory: () => ({ apiserver: memoryOf(apiserver.pid), etcd: memoryOf(etcd.pid) }),
    pid: apiserver.pid,
    async stop() {
      await apiserver.stop();
      await etcd.stop();
    },
  };
}

export interface Program {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Name for CPU profiles; only programs that Node runs can have one. */
  readonly component?: string;
}

/** How the embedded cluster starts one of our components. */
export async function componentProgram(bench: Bench, component: string): Promise<Program> {
  const text = await runChild(bench, [...clusterProgram, 'command', component]);
  const { command, env } = JSON.parse(text) as Required<Program>;
  return { command, env, component };
}

export function startProgram(bench: Bench, program: Program, flags: readonly string[]): Promise<Child> {
  const { component, env } = program;
  const [first = '', ...rest] = program.command;
  const profiling = component === undefined ? [] : profileFlags(bench, component);
  return startChild(bench, [first, ...profiling, ...rest, ...flags], env === undefined ? {} : { env });
}

function profileFlags(bench: Bench, component: string): string[] {
  const { profile } = bench.options;
  if (profile === undefined) return [];
  mkdirSync(profile, { recursive: true });
  const name = `${component}-${new Date().toISOString().replaceAll(':', '')}.cpuprofile`;
  return ['--cpu-prof', `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${name}`];
}

/** A store of its own with TLS; `directory` holds its data. */
export async function startEtcd(bench: Bench, directory: string, pki: Pki): Promise<Etcd & Child> {
  const [port, peerPort] = [await freePort(), await freePort()];
  const url = `https://127.0.0.1:${port}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const child = await startChild(
    bench,
    [
      'etcd',
      '--name=bench',
      `--data-dir=${join(directory, 'etcd')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=bench=${peer}`,
      `--cert-file=${pki.certificate}`,
      `--key-file=${pki.key}`,
      `--trusted-ca-file=${pki.ca}`,
      '--client-cert-auth',
      '--log-level=warn',
    ],
    { env: { GOGC: '50' } },
  );
  return { ...child, url, pki };
}

export function temporaryDirectory(bench: Bench): string {
  const directory = mkdtempSync(join(tmpdir(), 'plumb-bench-'));
  bench.onCleanup(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}

/** Polls /readyz; gives up when the server has ended or takes too long. */
async function untilReady(bench: Bench, endpoint: Endpoint, server: Child): Promise<void> {
  const deadline = performance.now() + readyLimitMs;
  while (performance.now() < deadline) {
    bench.signal.throwIfAborted();
    const code = server.exitCode();
    if (code !== undefined) throw new Error(`the API server ended with ${code}: ${server.output()}`);
    if (await isReady(endpoint)) return;
    await delay(pollMs);
  }
  throw new Error(`the API server is not ready after ${readyLimitMs / 1000} s: ${server.output()}`);
}

export async function isReady(endpoint: Endpoint): Promise<boolean> {
  const client = new ApiClient(endpoint);
  try {
    return (await client.request('GET', '/readyz')).status === 200;
  } catch {
    return false;
  } finally {
    client.close();
  }
}

// SPDX-License-Identifier: Apache-2.0
// A private etcd and API server for end-to-end tests, on free ports and in a temporary directory. Everything is gone after
// `stop`.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { createAuthority, createTokenKeys, issue } from '../../boot/certificates.ts';
import { kubeconfig } from '../../boot/kubeconfig.ts';
import { Client } from '../../machinery/client.ts';

export interface ControlPlane {
  readonly directory: string;
  readonly server: string;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** Writes a kubeconfig for another user and returns its path. */
  userKubeconfig(name: string, group?: string): Promise<string>;
  stopEtcd(): Promise<void>;
  startEtcd(): void;
  restartServer(): Promise<void>;
  stop(): Promise<void>;
}

const readyLimitMs = 30_000;

export async function startControlPlane(): Promise<ControlPlane> {
  const directory = mkdtempSync(join(tmpdir(), 'plumb-apiserver-'));
  const file = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const [etcdPort, peerPort, port] = await freePorts(3);
  const server = `https://127.0.0.1:${port}`;
  const authority = await createAuthority('e2e-ca');
  const ca = file('ca.crt', authority.certificate);
  const serving = await issue(authority, {
    commonName: 'e2e',
    hosts: ['127.0.0.1', 'localhost'],
    usages: ['server', 'client'],
  });
  const cert = file('server.crt', serving.certificate);
  const key = file('server.key', serving.key);
  const tokens = createTokenKeys();
  const userKubeconfig = async (name: string, group?: string): Promise<string> => {
    const organization = group === undefined ? {} : { organization: group };
    const user = await issue(authority, { commonName: name, ...organization, usages: ['client'] });
    const spec = { cluster: 'e2e', server, authority: authority.certificate, userName: name, user };
    return file(`${name.replaceAll(':', '-')}.kubeconfig`, kubeconfig(spec));
  };
  const admin = await userKubeconfig('admin', 'system:masters');
  const etcdArguments = [
    '--name=e2e',
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=https://127.0.0.1:${etcdPort}`,
    `--advertise-client-urls=https://127.0.0.1:${etcdPort}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-cluster=e2e=http://127.0.0.1:${peerPort}`,
    `--cert-file=${cert}`,
    `--key-file=${key}`,
    `--trusted-ca-file=${ca}`,
    '--client-cert-auth',
  ];
  const serverArguments = [
    fileURLToPath(new URL('../main.ts', import.meta.url)),
    `--etcd-servers=https://127.0.0.1:${etcdPort}`,
    `--etcd-cafile=${ca}`,
    `--etcd-certfile=${cert}`,
    `--etcd-keyfile=${key}`,
    `--client-ca-file=${ca}`,
    `--tls-cert-file=${cert}`,
    `--tls-private-key-file=${key}`,
    `--service-account-key-file=${file('sa.pub', tokens.publicKey)}`,
    `--service-account-signing-key-file=${file('sa.key', tokens.privateKey)}`,
    '--advertise-address=127.0.0.1',
    '--bind-address=127.0.0.1',
    `--secure-port=${port}`,
  ];
  let etcd = launch('etcd', etcdArguments);
  let apiserver = launch(process.execPath, serverArguments);
  try {
    await ready(admin, () => apiserver);
  } catch (error) {
    await end(apiserver);
    await end(etcd);
    throw error;
  }
  return {
    directory,
    server,
    kubeconfig: admin,
    userKubeconfig,
    stopEtcd: () => end(etcd),
    startEtcd() {
      etcd = launch('etcd', etcdArguments);
    },
    async restartServer() {
      await end(apiserver);
      apiserver = launch(process.execPath, serverArguments);
      await ready(admin, () => apiserver);
    },
    async stop() {
      await end(apiserver);
      await end(etcd);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Waits for /readyz; fails with the server's own words when it ends before. */
async function ready(admin: string, server: () => Launched): Promise<void> {
  const deadline = Date.now() + readyLimitMs;
  while (Date.now() < deadline) {
    const { child, output } = server();
    if (child.exitCode !== null) {
      throw new Error(`the API server ended with ${child.exitCode}: ${output.join('')}`);
    }
    const client = Client.fromKubeconfig(admin);
    const status = await client.raw('GET', '/readyz').then(
      (reply) => reply.status,
      () => 0,
    );
    client.close();
    if (status === 200) {
      return;
    }
    await delay(50);
  }
  throw new Error(`the API server is not ready after ${readyLimitMs / 1000} s: ${server().output.join('')}`);
}

interface Launched {
  readonly child: ChildProcess;
  readonly output: string[];
}

function launch(command: string, commandArguments: readonly string[]): Launched {
  const child = spawn(command, commandArguments, { stdio: ['ignore', 'ignore', 'pipe'] });
  const output: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => {
    output.push(chunk.toString());
    output.splice(0, output.length - 50);
  });
  return { child, output };
}

async function end({ child }: Launched): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

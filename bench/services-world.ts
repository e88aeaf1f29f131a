// SPDX-License-Identifier: Apache-2.0
/** A control plane and one network namespace for the benchmarks of kube-proxies: nothing else of a cluster is needed to program Services. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ApiClient } from './api-client.ts';
import type { Bench } from './benchmark.ts';
import {
  componentProgram,
  startControlPlane,
  startProgram,
  temporaryDirectory,
  type ControlPlane,
} from './control-plane.ts';
import { unlessAborted, type Child } from './processes.ts';
import { endpointAddresses, endpointPort, type NodeOrder, type NodeReply } from './services-node.ts';

export const namespace = 'default';
const nodeName = 'bench';
const writers = 24;

export interface ServicesWorld {
  readonly client: ApiClient;
  /** A fresh namespace; what was there before is gone with it. */
  startNode(): Promise<BenchNode>;
}

export interface BenchNode {
  readonly pid: number;
  ask(order: NodeOrder): Promise<NodeReply>;
  /** `binary` is a path of upstream's kube-proxy; absent, ours is started. */
  startProxy(mode: ProxyMode, binary?: string): Promise<Child>;
  stop(): Promise<void>;
}

export type ProxyMode = 'nftables' | 'iptables';

export async function startServicesWorld(bench: Bench): Promise<ServicesWorld> {
  const control = await startControlPlane(bench);
  const client = new ApiClient(control.endpoint, 4);
  bench.onCleanup(() => client.close());
  const kubeconfig = await control.kubeconfig('system:kube-proxy', 'system:masters');
  const node = await client.json<{ metadata: object }>('POST', '/api/v1/nodes', { metadata: { name: nodeName } });
  await client.json('PUT', `/api/v1/nodes/${nodeName}/status`, {
    ...node,
    status: { addresses: [{ type: 'InternalIP', address: '172.18.0.2' }] },
  });
  const socketPath = await serveOutside(bench, control);
  return { client, startNode: () => startNode(bench, { socketPath, control, kubeconfig }) };
}

/** The API server listens on the loopback of the outer namespace; a socket with a path is reached from every one. */
async function serveOutside(bench: Bench, { endpoint }: ControlPlane): Promise<string> {
  const path = join(temporaryDirectory(bench), 'api.sock');
  const port = Number(new URL(endpoint.server).port);
  const server = createServer((socket) => {
    const inside = connect(port, '127.0.0.1');
    socket.on('error', () => inside.destroy());
    inside.on('error', () => socket.destroy());
    socket.pipe(inside).pipe(socket);
  }).listen(path);
  await once(server, 'listening');
  bench.onCleanup(() => void server.close());
  return path;
}

async function startNode(
  bench: Bench,
  { socketPath, control, kubeconfig }: { socketPath: string; control: ControlPlane; kubeconfig: string },
): Promise<BenchNode> {
  const script = new URL('./services-node.ts', import.meta.url).pathname;
  const port = new URL(control.endpoint.server).port;
  const child = spawn('unshare', ['-n', process.execPath, script, socketPath, port], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line));
  // Ctrl-C reaches the child as well: an answer of one that has ended is not waited for.
  const gone = once(child, 'exit').then((): never => {
    throw new Error('the program in the network namespace has ended');
  });
  gone.catch(() => undefined);
  const nextLine = (): Promise<string> => {
    const line = new Promise<string>((resolve) => waiting.push(resolve));
    return unlessAborted(Promise.race([line, gone]), bench.signal);
  };
  const { pid = 0 } = child;
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  bench.onCleanup(stop);
  await nextLine();
  return {
    pid,
    stop,
    ask: async (order) => {
      child.stdin.write(`${JSON.stringify(order)}\n`);
      return JSON.parse(await nextLine()) as NodeReply;
    },
    startProxy: async (mode, binary) => {
      const program = binary === undefined ? await componentProgram(bench, 'kube-proxy') : { command: [binary] };
      const inside = { ...program, command: ['nsenter', '-t', String(pid), '-n', ...program.command] };
      return startProgram(bench, inside, [
        `--kubeconfig=${kubeconfig}`,
        `--hostname-override=${nodeName}`,
        '--cluster-cidr=10.244.0.0/16',
        `--proxy-mode=${mode}`,
        '--healthz-bind-address=127.0.0.1:10256',
        '--metrics-bind-address=127.0.0.1:10249',
        // The number of connections is the machine's affair.
        ...(binary === undefined ? [] : ['--conntrack-max-per-core=0']),
      ]);
    },
  };
}

/** Services that are there, each with three endpoints, so that there is something to program. */
export async function fillServices(client: ApiClient, { from, to }: { from: number; to: number }): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_unused, index) => from + index).values();
  const write = async (): Promise<void> => {
    for (const number of numbers) {
      const hosts = [1, 2, 3].map(
        (host) => `10.244.${1 + (number % 250)}.${host + 3 * (Math.floor(number / 250) % 80)}`,
      );
      await createService(client, { name: `fill-${number}`, hosts });
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
}

/** Resolves to the Service's address once both it and its endpoints exist. */
export async function createService(
  client: ApiClient,
  { name, hosts }: { name: string; hosts: readonly string[] },
): Promise<string> {
  const service = await client.json<{ spec: { clusterIP: string } }>(
    'POST',
    `/api/v1/namespaces/${namespace}/services`,
    { metadata: { name }, spec: { ports: [{ port: 80, targetPort: endpointPort }] } },
  );
  await client.json('POST', slicesPath, endpointSlice(name, hosts));
  return service.spec.clusterIP;
}

export const slicesPath = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;

export function endpointSlice(service: string, hosts: readonly string[] = endpointAddresses): object {
  return {
    metadata: { name: service, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: '', port: endpointPort, protocol: 'TCP' }],
    endpoints: hosts.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  };
}

export async function deleteService(client: ApiClient, name: string): Promise<void> {
  await client.json('DELETE', `${slicesPath}/${name}`);
  await client.json('DELETE', `/api/v1/namespaces/${namespace}/services/${name}`);
}

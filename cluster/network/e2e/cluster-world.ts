// SPDX-License-Identifier: Apache-2.0
// A cluster of two nodes for tests, with pods that serve their name and a file of 2 MiB over HTTP, asked from inside the
// network namespaces of other pods.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { projectVersion } from '../../boot/add-ons.ts';
import { readState, type NodeState } from '../../boot/state.ts';
import { Client } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { run } from '../../machines/command.ts';
import { enterNode } from '../../machines/enter.ts';
import { stopNode } from '../../machines/node.ts';
import { until } from '../../machines/until.ts';
import type { Pod } from '../../machinery/api-types.ts';

const main = join(import.meta.dirname, '..', '..', 'boot', 'main.ts');
const waitMs = 120_000;

/** A cluster of two nodes with pods that serve their name and a file of 2 MiB over HTTP. */
export class ClusterWorld {
  readonly #name: string;
  readonly #flags: readonly string[];
  #client: Client | undefined;

  constructor(name: string, flags: readonly string[]) {
    this.#name = name;
    this.#flags = flags;
  }

  async up(): Promise<void> {
    await promisify(execFile)(process.execPath, [main, 'up', '--name', this.#name, '--workers', '1', ...this.#flags]);
    const path = join(process.env['PLUMB_STATE_DIR'] ?? '', 'clusters', this.#name, 'kubeconfig');
    this.#client = Client.fromKubeconfig(path);
  }

  async down(): Promise<void> {
    this.#client?.close();
    await promisify(execFile)(process.execPath, [main, 'down', '--name', this.#name]);
  }

  get client(): Client {
    if (this.#client === undefined) throw new Error('the cluster is not up');
    return this.#client;
  }

  /** FIRST-LAST of IPv4. */
  get loadBalancerRange(): string {
    return readState(this.#name)?.options.loadBalancerRange.split(',')[0] ?? '';
  }

  /** Ends everything on the node, and says of it what the node controller would say after its grace period. */
  async lose(node: string): Promise<void> {
    const { name } = this.node(node);
    await stopNode(this.#name, name);
    await this.client.patch(resources.nodes, name, {
      type: 'strategic',
      subresource: 'status',
      body: { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } },
    });
  }

  node(name: string): NodeState {
    const node = readState(this.#name)?.nodes.find((one) => one.name === `${this.#name}-${name}`);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  async startPod(name: string, node: string, annotations: Record<string, string> = {}): Promise<void> {
    const script = `mkdir -p /tmp/${name}; cd /tmp/${name}; echo hello ${name} > index.html; busybox dd if=/dev/zero of=large bs=1M count=2; exec busybox httpd -f -p [::]:8080 -h /tmp/${name}`;
    await this.client.create<Pod>(resources.pods, {
      metadata: { name, namespace: 'default', labels: { app: 'web' }, annotations },
      spec: {
        nodeName: this.node(node).name,
        tolerations: [{ operator: 'Exists' }],
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'web',
            image: `plumbline.local/probe:${projectVersion()}`,
            command: ['sh', '-c', script],
            readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 },
          },
        ],
      },
    });
    const ready = async (): Promise<boolean> => {
      const { status } = await this.client.get<Pod>(resources.pods, name, 'default');
      return status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false;
    };
    await until(ready, { what: `pod ${name}`, timeoutMs: waitMs, intervalMs: 100 });
  }

  async addresses(pod: string): Promise<string[]> {
    const { status } = await this.client.get<Pod>(resources.pods, pod, 'default');
    return (status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []);
  }

  async inNode(node: string, script: string): Promise<string> {
    return run(this.#enter(node, script), { timeoutMs: 30_000 });
  }

  /** From the pod's own network namespace; empty when nothing answers. */
  async get(pod: string, address: string, port: number, file = ''): Promise<string> {
    const { spec } = await this.client.get<Pod>(resources.pods, pod, 'default');
    const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/${file}`;
    const find = `pgrep -xf 'busybox httpd -f -p .*:8080 -h /tmp/${pod}'`;
    const command = `nsenter -t "$(${find})" -n busybox timeout 20 busybox wget -qO- '${url}' || true`;
    return this.inNode((spec?.nodeName ?? '').slice(this.#name.length + 1), command);
  }

  /** `stop` resolves with the lines that tcpdump has printed. */
  capture(node: string, link: string, filter: string): { ready: Promise<void>; stop(): Promise<string> } {
    // Packets that still lie in the kernel's buffer when tcpdump ends are lost.
    const command = `tcpdump -nn -l --immediate-mode -i ${link} ${filter}`;
    const [program = '', ...args] = this.#enter(node, `exec ${command}`);
    const child = execFile(program, args);
    let text = '';
    child.stdout?.on('data', (chunk: string) => (text += chunk));
    const ready = new Promise<void>((resolve) => {
      child.stderr?.on('data', (chunk: string) => {
        if (chunk.includes('listening on')) resolve();
      });
    });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    return {
      ready,
      stop: async () => {
        await until(async () => text !== '' || filter.startsWith('net '), { what: 'a packet', timeoutMs: 10_000 });
        // Not the child, which waits outside for what runs in the node.
        await this.inNode(node, `pkill -INT -xf '${command}'`);
        await ended;
        return text;
      },
    };
  }

  #enter(node: string, script: string): string[] {
    const { name, init } = this.node(node);
    if (init === undefined) throw new Error(`node ${name} does not run`);
    return enterNode({ cluster: this.#name, name, init }, ['sh', '-c', script]);
  }
}

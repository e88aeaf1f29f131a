// SPDX-License-Identifier: Apache-2.0
/**
 * What a sabotage does, as data, and how it is done: through `plumb cluster exec`, through the API as any user could, or by a program that
 * stands in for a component. Nothing of the harness or the cluster is imported.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KubeConfig, KubernetesObjectApi, type KubernetesObject } from '@kubernetes/client-node';

/** Nodes by their part: the control-plane node, the workers, or all of them. */
export type Where = 'control-plane' | 'workers' | 'last-worker' | 'all';

export type Step =
  /** A shell script in each of the nodes; it must end by itself. */
  | { readonly in: Where; readonly script: string }
  /** Stops (`down`), freezes (`pause`) or continues (`cont`, `up`) a component under the node's supervisor. */
  | { readonly in: Where; readonly component: string; readonly to: 'down' | 'up' | 'pause' | 'cont' }
  /** A program of `stand-ins/` in each of the nodes, or on the host; it is ended after the run. `{kubeconfig}` stands for the file's path. */
  | { readonly in: Where | 'host'; readonly standIn: string; readonly args?: readonly string[] }
  /** A shell script that is repeated until the run has ended; `{services}` stands for the folder of the node's components. */
  | { readonly in: Where; readonly repeat: string }
  | { readonly create: KubernetesObject }
  | { readonly remove: KubernetesObject };

export interface Cluster {
  readonly name: string;
  readonly kubeconfig: string;
  readonly nodes: Readonly<Record<Where, readonly string[]>>;
}

const run = promisify(execFile);
const clusterProgram = fileURLToPath(new URL('../../../cluster/boot/main.ts', import.meta.url));
const standIns = fileURLToPath(new URL('stand-ins/', import.meta.url));

/** The cluster by its kubeconfig, which lies in the cluster's directory of the state directory. */
export async function clusterOf(kubeconfig: string): Promise<Cluster> {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = KubernetesObjectApi.makeApiClient(config);
  const { items } = await api.list('v1', 'Node');
  const isControlPlane = ({ metadata }: KubernetesObject): boolean =>
    metadata?.labels?.['node-role.kubernetes.io/control-plane'] !== undefined;
  const names = (nodes: readonly KubernetesObject[]): string[] =>
    nodes.map(({ metadata }) => metadata?.name ?? '').toSorted();
  const workers = names(items.filter((node) => !isControlPlane(node)));
  return {
    name: basename(dirname(kubeconfig)),
    kubeconfig,
    nodes: {
      'control-plane': names(items.filter(isControlPlane)),
      workers,
      'last-worker': workers.slice(-1),
      all: names(items),
    },
  };
}

/** The kubeconfig of the embedded cluster of that name: one that runs, of whatever kind, or else a new one. */
export async function bringUp(name: string): Promise<string> {
  const kubeconfig = async (): Promise<string> => {
    const { stdout } = await run(process.execPath, [clusterProgram, 'kubeconfig', '--name', name]);
    return stdout.trim();
  };
  try {
    return await kubeconfig();
  } catch {
    await run(process.execPath, [clusterProgram, 'up', '--name', name, '--workers', '2', '--ingress']);
    return await kubeconfig();
  }
}

/** Programs of a sabotage that go on during the run. */
export class Background {
  readonly #children: ChildProcess[] = [];

  async perform(cluster: Cluster, steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.#perform(cluster, step);
  }

  stop(): void {
    for (const child of this.#children.splice(0)) {
      // The whole group: what runs in a node hangs on the program that entered it.
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
    }
  }

  async #perform(cluster: Cluster, step: Step): Promise<void> {
    if ('create' in step || 'remove' in step) {
      const config = new KubeConfig();
      config.loadFromFile(cluster.kubeconfig);
      const api = KubernetesObjectApi.makeApiClient(config);
      await ('create' in step ? api.create(step.create) : api.delete(step.remove));
      return;
    }
    if (step.in === 'host') {
      this.#spawn([process.execPath, ...programOf(cluster, step)]);
      return;
    }
    await Promise.all(
      cluster.nodes[step.in].map(async (node) => {
        const services = join(dirname(cluster.kubeconfig), 'nodes', node, 'services');
        if ('script' in step) await inNode(cluster, node, ['sh', '-ec', step.script]);
        else if ('component' in step) {
          await inNode(cluster, node, ['sv', '-w', '10', step.to, join(services, step.component)]);
        } else {
          const command =
            'repeat' in step
              ? ['sh', '-c', `while :; do ${step.repeat.replaceAll('{services}', services)}; done`]
              : [process.execPath, ...programOf(cluster, step)];
          this.#spawn([process.execPath, clusterProgram, 'exec', '--name', cluster.name, node, '--', ...command]);
        }
      }),
    );
  }

  #spawn([program = '', ...args]: readonly string[]): void {
    this.#children.push(spawn(program, args, { stdio: 'ignore', detached: true }));
  }
}

function programOf(cluster: Cluster, step: { readonly standIn: string; readonly args?: readonly string[] }): string[] {
  const args = (step.args ?? []).map((arg) => arg.replaceAll('{kubeconfig}', cluster.kubeconfig));
  return [join(standIns, `${step.standIn}.ts`), ...args];
}

async function inNode(cluster: Cluster, node: string, command: readonly string[]): Promise<void> {
  try {
    await run(process.execPath, [clusterProgram, 'exec', '--name', cluster.name, node, '--', ...command]);
  } catch (error) {
    const { stderr = '', stdout = '' } = error as { stderr?: string; stdout?: string };
    throw new Error(`${node}: ${command.join(' ')}: ${stderr}${stdout}`, { cause: error });
  }
}

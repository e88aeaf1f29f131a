// SPDX-License-Identifier: Apache-2.0
/**
 * The floors under the way between pods, and how a way is measured. Each end computes in the control group of the node whose pod it
 * is compared with: groups share out a busy processor, so that another one would be another machine.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { joinNodeGroup } from '../../cluster/machines/enter.ts';
import type { Bench } from '../benchmark.ts';
import type { PathFigures } from './peer.ts';
import { runChild, startChild } from '../processes.ts';

/** Runs the client on a path and resolves to what it has measured. */
export type Path = (seconds: number) => Promise<PathFigures>;
export type Role = 'client' | 'server';

const program = fileURLToPath(new URL('./peer.ts', import.meta.url));
export const port = 5201;
export const serverCommand: readonly string[] = [process.execPath, program, 'server', String(port)];

export function clientCommand(host: string, seconds: number): readonly string[] {
  return [process.execPath, program, 'client', host, String(port), String(seconds)];
}

/** Errors: what the client printed instead. */
export function figuresOf(output: string): PathFigures {
  const line = output.split('\n').find((one) => one.startsWith('{'));
  if (line === undefined) throw new Error(`the client printed no figures: ${output}`);
  return JSON.parse(line) as PathFigures;
}

export function nodeOf(cluster: string, role: Role): string {
  return `${cluster}-${role === 'client' ? 'control-plane' : 'worker'}`;
}

/** Two namespaces of this host with a veth between them, and a server in one of them. */
export async function bareVeth(bench: Bench, cluster: string): Promise<Path> {
  const ends = { client: await openNamespace(bench), server: await openNamespace(bench) };
  await join(bench, [ends.client, 'eth0'], [ends.server, 'eth0']);
  await address(bench, ends.client, '192.0.2.1/24');
  await address(bench, ends.server, '192.0.2.2/24');
  return await openPath(bench, { cluster, ends, host: '192.0.2.2' });
}

/** The shape of a cluster without a rule: two namespaces behind two that forward and meet at a bridge, routed from one to the other. */
export async function bareNodes(bench: Bench, cluster: string): Promise<Path> {
  const lan = await openNamespace(bench);
  await ip(bench, lan, 'link add br0 up type bridge');
  const openEnd = async (own: number, other: number): Promise<number> => {
    const [end, node] = [await openNamespace(bench), await openNamespace(bench)];
    await join(bench, [end, 'eth0'], [node, 'pod']);
    await join(bench, [node, 'eth0'], [lan, `node${own}`]);
    await ip(bench, lan, `link set node${own} master br0`);
    await address(bench, end, `198.18.${own}.2/24`);
    await address(bench, node, `198.18.${own}.1/24`, 'pod');
    await address(bench, node, `192.0.2.${own}/24`);
    await ip(bench, end, `route add default via 198.18.${own}.1`);
    await ip(bench, node, `route add 198.18.${other}.0/24 via 192.0.2.${other}`);
    await runChild(bench, inside(node, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']));
    return end;
  };
  const ends = { client: await openEnd(1, 2), server: await openEnd(2, 1) };
  return await openPath(bench, { cluster, ends, host: '198.18.2.2' });
}

interface Ends {
  readonly cluster: string;
  /** Processes that hold the namespaces. */
  readonly ends: Readonly<Record<Role, number>>;
  readonly host: string;
}

async function openPath(bench: Bench, { cluster, ends, host }: Ends): Promise<Path> {
  const at = (role: Role, command: readonly string[]): string[] =>
    joinNodeGroup({ cluster, name: nodeOf(cluster, role) }, inside(ends[role], command));
  await startChild(bench, at('server', serverCommand));
  return async (seconds) => figuresOf(await runChild(bench, at('client', clientCommand(host, seconds))));
}

/** Resolves to the process that holds a new namespace until the benchmark ends. */
async function openNamespace(bench: Bench): Promise<number> {
  const holder = spawn('unshare', ['-n', 'sh', '-c', 'echo ready; exec sleep infinity'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  bench.onCleanup(() => void holder.kill('SIGKILL'));
  await once(holder.stdout, 'data');
  return holder.pid ?? 0;
}

function inside(holder: number, command: readonly string[]): string[] {
  return ['nsenter', '-t', String(holder), '-n', ...command];
}

async function ip(bench: Bench, holder: number, words: string): Promise<void> {
  await runChild(bench, inside(holder, ['ip', ...words.split(' ')]));
}

async function join(
  bench: Bench,
  [near, name]: readonly [number, string],
  [far, peer]: readonly [number, string],
): Promise<void> {
  await ip(bench, near, `link add ${name} up type veth peer name ${peer} netns ${far}`);
  await ip(bench, far, `link set ${peer} up`);
}

async function address(bench: Bench, holder: number, prefix: string, device = 'eth0'): Promise<void> {
  await ip(bench, holder, `address add ${prefix} dev ${device}`);
}

// SPDX-License-Identifier: Apache-2.0
// A small cluster of network namespaces for tests with real packets: two nodes and an outsider on one LAN, two pods on
// each node wired as the ptp plugin wires them. Nothing has a name under /run/netns; everything ends with its process.

import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';

import { planTransaction } from '../nft/transaction.ts';
import type { Table } from '../nft/ruleset.ts';
import type { PeerReply, PeerRequest } from './netns-peer.ts';

export interface Peer {
  /** Of the process that holds the namespace. */
  readonly pid: number;
  readonly name: string;
  readonly address: string;
  request(request: PeerRequest): Promise<PeerReply>;
  /** Runs a command in the namespace. */
  run(command: string): string;
  /** Applies a table: the first time as a whole, then the difference. */
  apply(table: Table): void;
}

export interface World {
  readonly node1: Peer;
  readonly node2: Peer;
  readonly outsider: Peer;
  /** 10.244.1.2, 10.244.1.3 on node1; 10.244.2.2, 10.244.2.3 on node2. */
  readonly pods: readonly [Peer, Peer, Peer, Peer];
  close(): void;
}

export async function makeWorld(): Promise<World> {
  const lan = spawn('unshare', ['-n', 'sh', '-c', 'ip link add br0 type bridge; ip link set br0 up; echo ready; cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await firstLine(lan);
  const children = [lan];
  const start = async (name: string, address: string): Promise<Peer> => {
    const script = new URL('./netns-peer.ts', import.meta.url).pathname;
    const child = spawn('unshare', ['-n', process.execPath, script, name], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    return peerOf(child, name, address);
  };
  const node1 = await start('node1', '172.30.0.1');
  const node2 = await start('node2', '172.30.0.2');
  const outsider = await start('outsider', '172.30.0.9');
  const lanPid = lan.pid ?? 0;
  for (const [index, peer] of [node1, node2, outsider].entries()) {
    sh(`ip link add eth0 netns ${peer.pid} type veth peer name v${index} netns ${lanPid}`);
    sh(`nsenter -t ${lanPid} -n ip link set v${index} master br0 up`);
    peer.run(`ip addr add ${peer.address}/24 dev eth0; ip link set eth0 up; ip link set lo up`);
    peer.run('ip route add default via 172.30.0.9');
  }
  for (const node of [node1, node2]) node.run('sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0');
  const pods: Peer[] = [];
  for (const [node, number] of [
    [node1, 1],
    [node2, 2],
  ] as const) {
    for (const host of [2, 3]) {
      const address = `10.244.${number}.${host}`;
      const pod = await start(`pod${number}${host}`, address);
      pods.push(pod);
      sh(`ip link add eth0 netns ${pod.pid} type veth peer name p${host} netns ${node.pid}`);
      const gateway = `10.244.${number}.1`;
      node.run(
        `ip addr add ${gateway}/32 dev p${host}; ip link set p${host} up; ip route add ${address}/32 dev p${host}`,
      );
      pod.run(
        `ip link set lo up; ip addr add ${address}/24 dev eth0; ip link set eth0 up; ip route del 10.244.${number}.0/24`,
      );
      pod.run(
        `ip route add ${gateway} dev eth0; ip route add 10.244.${number}.0/24 via ${gateway}; ip route add default via ${gateway}`,
      );
    }
  }
  return {
    node1,
    node2,
    outsider,
    pods: pods as unknown as World['pods'],
    close: () => {
      for (const child of children) child.kill('SIGKILL');
    },
  };
}

async function peerOf(child: ChildProcess, name: string, address: string): Promise<Peer> {
  const { stdin, stdout, pid = 0 } = child;
  if (stdin === null || stdout === null) throw new Error(`${name} has no pipes`);
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: stdout }).on('line', (line) => waiting.shift()?.(line));
  const nextLine = (): Promise<string> => new Promise((resolve) => waiting.push(resolve));
  await nextLine();
  const applied = new Map<string, Table>();
  return {
    name,
    address,
    pid,
    request: async (request) => {
      stdin.write(`${JSON.stringify(request)}\n`);
      return JSON.parse(await nextLine()) as PeerReply;
    },
    run: (command) => sh(`nsenter -t ${pid} -n sh -c "${command}"`),
    apply: (table) => {
      const { preparation, commands, cleanup } = planTransaction(applied.get(table.name), table);
      for (const input of [preparation, commands, cleanup]) {
        if (input !== '') execFileSync('nsenter', ['-t', String(pid), '-n', 'nft', '-f', '-'], { input });
      }
      applied.set(table.name, table);
    },
  };
}

function sh(command: string): string {
  return execFileSync('sh', ['-c', command], { encoding: 'utf8' });
}

function firstLine(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.stdout?.once('data', () => resolve()));
}

// SPDX-License-Identifier: Apache-2.0
// Starts a proxy in the network namespace of a node of the tests' world, and talks to it.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import type { Peer } from '../../network/e2e/netns-world.ts';
import type { ProxyMode, ProxyReply, ProxyState } from './proxy-process.ts';

export interface ProxyHandle {
  /** Brings the rules to this state of the cluster. */
  set(state: ProxyState): Promise<ProxyReply>;
  /** The proxy's rules in the kernel, without counters and handles. */
  rules(): string;
  kill(): void;
}

export async function startProxy(node: Peer, mode: ProxyMode): Promise<ProxyHandle> {
  const script = new URL('./proxy-process.ts', import.meta.url).pathname;
  const child = spawn('nsenter', ['-t', String(node.pid), '-n', process.execPath, script, node.name, mode], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line));
  const nextLine = (): Promise<string> => new Promise((resolve) => waiting.push(resolve));
  await nextLine();
  return {
    set: async (state) => {
      child.stdin.write(`${JSON.stringify(state)}\n`);
      return JSON.parse(await nextLine()) as ProxyReply;
    },
    rules: () => {
      const variant = mode === 'iptables-legacy' ? 'legacy' : 'nft';
      const text =
        mode === 'nftables'
          ? node.run('nft list table ip kube-proxy; nft list table ip6 kube-proxy')
          : node.run(`iptables-${variant}-save; ip6tables-${variant}-save`);
      return text
        .replaceAll(/packets \d+ bytes \d+|\[\d+:\d+\]|^#.*$/gm, '')
        .split('\n')
        .toSorted()
        .join('\n');
    },
    kill: () => void child.kill('SIGKILL'),
  };
}

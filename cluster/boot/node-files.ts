// SPDX-License-Identifier: Apache-2.0
// The files in a node's /etc that name other machines.

import { readFileSync } from 'node:fs';

import type { NodeState } from './state.ts';

/** Nodes know each other by name. */
export function hostsFile(nodes: readonly NodeState[]): string {
  const lines = nodes.flatMap((node) => node.addresses.map((address) => `${address}\t${node.name}`));
  return ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', ...lines, ''].join('\n');
}

/** The host's resolvers, as far as a node can reach them: a resolver on the host's loopback is not there in a node. */
export function nodeResolvConf(read: (path: string) => string = readText): string {
  for (const path of ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']) {
    const servers = [...read(path).matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1] ?? '');
    const reachable = servers.filter((server) => !server.startsWith('127.') && server !== '::1');
    if (reachable.length > 0) return reachable.map((server) => `nameserver ${server}\n`).join('');
  }
  return '# The host resolves names over its loopback only, which nodes cannot reach.\n';
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

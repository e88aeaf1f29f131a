// SPDX-License-Identifier: Apache-2.0
// What runs of a cluster and what it costs: every component with its process on the host and its memory.

import { cgroupPids, hostCgroups } from '../machines/cgroups.ts';
import { isAlive, memoryOf, pidsInside } from '../machines/processes.ts';
import { serviceNames, serviceStatus } from '../machines/supervisor.ts';
import type { ClusterState, NodeState } from './state.ts';

export interface ComponentRow {
  readonly node: string;
  readonly component: string;
  readonly state: string;
  /** Process on the host. */
  readonly pid: number | undefined;
  readonly pss: number;
  readonly rss: number;
}

export function componentRows(state: ClusterState): ComponentRow[] {
  return state.nodes.flatMap((node) => nodeRows(state, node));
}

export function printStatus(state: ClusterState): void {
  const rows = componentRows(state);
  process.stdout.write(
    `cluster ${state.name}, Kubernetes ${state.options.kubernetesVersion}, LAN ${state.prefix}.0/24\n`,
  );
  process.stdout.write(
    `${'NODE'.padEnd(26)}${'COMPONENT'.padEnd(26)}${'STATE'.padEnd(16)}${'PID'.padStart(8)}${'PSS MB'.padStart(9)}${'RSS MB'.padStart(9)}\n`,
  );
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(1).padStart(9);
  for (const row of rows) {
    process.stdout.write(
      `${row.node.padEnd(26)}${row.component.padEnd(26)}${row.state.padEnd(16)}${String(row.pid ?? '-').padStart(8)}${mb(row.pss)}${mb(row.rss)}\n`,
    );
  }
  const sum = (key: 'pss' | 'rss'): number => rows.reduce((total, row) => total + row[key], 0);
  process.stdout.write(`${'total'.padEnd(76)}${mb(sum('pss'))}${mb(sum('rss'))}\n`);
}

function nodeRows(state: ClusterState, node: NodeState): ComponentRow[] {
  if (node.init === undefined || !isAlive(node.init)) {
    return [{ node: node.name, component: '(node)', state: 'not running', pid: undefined, pss: 0, rss: 0 }];
  }
  const pids = cgroupPids(hostCgroups(), state.name, node.name);
  const hostPids = pidsInside(node.init.pid, pids);
  const rest = new Set(pids);
  const rows = serviceNames(node.directory).map((name): ComponentRow => {
    const status = serviceStatus(node.directory, name);
    const pid = status?.pid === undefined ? undefined : hostPids.get(status.pid);
    if (pid === undefined)
      return {
        node: node.name,
        component: name,
        state: status?.wanted === 'up' ? 'restarting' : 'down',
        pid,
        pss: 0,
        rss: 0,
      };
    rest.delete(pid);
    return { node: node.name, component: name, state: `up ${status?.seconds ?? 0} s`, pid, ...memoryOf(pid) };
  });
  const others = [...rest].map(memoryOf);
  const sum = (key: 'pss' | 'rss'): number => others.reduce((total, use) => total + use[key], 0);
  return [
    ...rows,
    {
      node: node.name,
      component: '(pods, shims, runit)',
      state: `${others.length} processes`,
      pid: undefined,
      pss: sum('pss'),
      rss: sum('rss'),
    },
  ];
}

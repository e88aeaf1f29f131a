// SPDX-License-Identifier: Apache-2.0
// How a command of the user gets into a node: it joins the node's control group, so that nothing outlives the node, and
// then its namespaces.

import { cgroupFiles, hostCgroups } from './cgroups.ts';
import type { ProcessIdentity } from './processes.ts';

export interface NodePlace {
  readonly cluster: string;
  readonly name: string;
  readonly init: ProcessIdentity;
}

/** The argument vector that runs `command` inside the node, to be spawned by the caller with the streams it wants. */
export function enterNode(node: NodePlace, command: readonly string[]): string[] {
  return joinNodeGroup(node, ['nsenter', '-t', String(node.init.pid), '-a', ...command]);
}

/** The argument vector that runs `command` in the node's control group, and in the namespaces of the caller. */
export function joinNodeGroup(node: Pick<NodePlace, 'cluster' | 'name'>, command: readonly string[]): string[] {
  const files = cgroupFiles(hostCgroups(), { cluster: node.cluster, member: node.name });
  const script =
    'count=$1; shift; while [ $count -gt 0 ]; do echo $$ > "$1"; shift; count=$((count-1)); done; exec "$@"';
  return ['sh', '-ec', script, 'plumb-exec', String(files.length), ...files, ...command];
}

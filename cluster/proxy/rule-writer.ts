// SPDX-License-Identifier: Apache-2.0
// What the proxier needs of a back end: it is told the rules of one Service at a time and brings the kernel to all.

import type { Backend, NodeIdentity, ServicePort } from './service-model.ts';

export interface RuleOptions {
  readonly node: NodeIdentity;
  readonly family: 'ip' | 'ip6';
  /** Pod addresses; sources outside are masqueraded on their way to a ClusterIP. */
  readonly clusterCIDRs: readonly string[];
  /** The InternalIPs of this node. */
  readonly nodeAddresses: readonly string[];
  /** Node addresses on which NodePorts answer; undefined for all of the node's addresses. */
  readonly nodePortAddresses: readonly string[] | undefined;
}

export interface PortWithBackends {
  readonly port: ServicePort;
  readonly backends: readonly Backend[];
}

export interface WriteReport {
  /** What reached the kernel: nothing, a difference, or everything. */
  readonly kind: 'none' | 'difference' | 'whole';
  /** Why everything had to follow a refused difference. */
  readonly refused?: string;
  /** Something is left to tidy up: call `write` once more when idle. */
  readonly untidy: boolean;
}

export interface RuleWriter {
  /** New facts of the node. Every Service has to be given again. */
  configure(options: RuleOptions): void;
  /** The ports of the Service `namespace/name` from now on; none when it is gone. */
  replace(service: string, ports: readonly PortWithBackends[]): void;
  /** Brings the kernel to what was given. Not to be called again before the promise settles. */
  write(): Promise<WriteReport>;
  /** The next `write` writes everything, whatever happened to it in the kernel. */
  distrust(): void;
  /** False when somebody removed the rules from the kernel. */
  stillThere(): Promise<boolean>;
  /** Rules of ours by kernel table, for metrics; empty where rules are not what is counted. */
  ruleCounts(): ReadonlyMap<string, number>;
}

// SPDX-License-Identifier: Apache-2.0
// What is known about a cluster of this machine, in one JSON file that is replaced as a whole at every step of the
// bring-up, so that `down` finds everything however far `up` came.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { Lan } from '../machines/lan.ts';
import { isAlive, type ProcessIdentity } from '../machines/processes.ts';
import { hostOf } from '../network/addresses.ts';
import type { GivenProgram } from './given-programs.ts';
import type { IpFamilyChoice } from './ip-plan.ts';
import { clusterPaths, stateDirectory } from './layout.ts';

export interface NodeState {
  readonly name: string;
  readonly role: 'control-plane' | 'worker';
  /** On the LAN, in the cluster's primary family. */
  readonly address: string;
  /** On the LAN: one per family of the cluster, the primary one first. */
  readonly addresses: readonly string[];
  readonly directory: string;
  init?: ProcessIdentity;
  parent?: ProcessIdentity;
}

export interface ClusterState {
  readonly format: 1;
  readonly name: string;
  readonly createdAt: string;
  /** First three numbers of the LAN's /24. */
  readonly prefix: string;
  readonly options: ClusterOptions;
  readonly nodes: NodeState[];
  lan?: Lan;
  /** Key of the images that the nodes have; see images/template.ts. */
  images?: string;
  /** True once `up` has come to its end. */
  ready: boolean;
}

/** What makes two `up` commands ask for the same cluster. */
export interface ClusterOptions {
  readonly workers: number;
  readonly kubernetesVersion: string;
  readonly etcdEndpoints: string;
  readonly etcdMembers: number;
  readonly proxyMode: ProxyMode;
  readonly network: NetworkMode;
  readonly ipFamily: IpFamilyChoice;
  /** `FIRST-LAST` per family, separated by commas: addresses of the LAN for Services of type LoadBalancer. */
  readonly loadBalancerRange: string;
  /** With the ingress controller. */
  readonly ingress: boolean;
  /** Executables that run in place of the project's own, by component. */
  readonly components: Readonly<Partial<Record<GivenProgram, string>>>;
}

/** How pods of different nodes reach each other. */
export const networkModes = ['routed', 'vxlan', 'bgp'] as const;
export type NetworkMode = (typeof networkModes)[number];

export const proxyModes = ['nftables', 'iptables'] as const;
export type ProxyMode = (typeof proxyModes)[number];

export function readState(name: string): ClusterState | undefined {
  const { state } = clusterPaths(name);
  if (!existsSync(state)) return undefined;
  const value: unknown = JSON.parse(readFileSync(state, 'utf8'));
  if (typeof value !== 'object' || value === null || (value as { format?: unknown }).format !== 1) {
    throw new Error(
      `${state} was written by another version of plumb; remove the cluster with that version, or the directory by hand`,
    );
  }
  return withNewFields(value as ClusterState);
}

/** A cluster that was brought up before there was a choice of families and networks. */
function withNewFields(state: ClusterState): ClusterState {
  const absent: Partial<ClusterOptions> = {
    network: 'routed',
    ipFamily: 'ipv4',
    loadBalancerRange: '',
    ingress: false,
    components: {},
  };
  const options = { ...absent, ...state.options };
  const nodes = state.nodes.map((node) => {
    const { addresses = [node.address] }: Partial<NodeState> = node;
    return { ...node, addresses };
  });
  return { ...state, options, nodes };
}

export function writeState(state: ClusterState): void {
  const path = clusterPaths(state.name).state;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Names of the clusters that this machine's state directory knows. */
export function clusterNames(): string[] {
  const directory = join(stateDirectory(), 'clusters');
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => existsSync(clusterPaths(name).state))
    .toSorted();
}

/** True while the LAN and every node of the cluster run. */
export function isRunning(state: ClusterState): boolean {
  const lives = (identity: ProcessIdentity | undefined): boolean => identity !== undefined && isAlive(identity);
  return lives(state.lan?.holder) && state.nodes.length > 0 && state.nodes.every((node) => lives(node.init));
}

export function controlPlane(state: ClusterState): NodeState {
  const node = state.nodes.find((candidate) => candidate.role === 'control-plane');
  if (node === undefined)
    throw new Error(`cluster ${state.name} has no control-plane node in ${clusterPaths(state.name).state}`);
  return node;
}

export function apiServerUrl(state: ClusterState): string {
  return `https://${hostOf(controlPlane(state).address)}:6443`;
}

// SPDX-License-Identifier: Apache-2.0
/** What `plumb diagnose` says: causes, not symptoms, the likeliest first. The JSON form is a contract for tools; fields are only ever added. */

/** Whose work it is, from the bottom up: what lies lower explains what lies above it. */
export const components = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'node',
  'kubelet',
  'container-runtime',
  'link',
  'network',
  'firewall',
  'kube-proxy',
  'network-policy',
  'dns',
  'storage',
  'service',
  'application',
] as const;
export type Component = (typeof components)[number];

export interface Finding {
  /** A normalised reason: those of a trace, or `component-down`, `stale-endpoint` and the like. */
  readonly reason: string;
  readonly component: Component;
  /** Name of the Node object; absent where it is no single node's. */
  readonly node?: string;
  /** `KIND [NAMESPACE/]NAME`, the one at fault first. */
  readonly objects: readonly string[];
  /** One sentence. */
  readonly summary: string;
  /** Lines as packets, rules, nodes and the API show them. */
  readonly evidence: readonly string[];
  /** What to do. */
  readonly next: string;
}

export interface Diagnosis {
  readonly schema: 1;
  readonly healthy: boolean;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
  /** What could not be looked at, and why. */
  readonly gaps: readonly string[];
}

/** `Pod shop/web-1`, `Node n1`. */
export function objectName(kind: string, metadata: { name?: string; namespace?: string } | undefined): string {
  const { name = '', namespace } = metadata ?? {};
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

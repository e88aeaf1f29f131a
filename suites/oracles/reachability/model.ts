// SPDX-License-Identifier: Apache-2.0
/** What the reachability oracle looks at: pods, namespaces and policies, as the API has them, and nothing of any implementation. */
import type { V1NetworkPolicy } from '@kubernetes/client-node';

export interface ModelPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly node: string;
  /** Named container ports: `tcp/web` to 8080. */
  readonly namedPorts: Readonly<Record<string, number>>;
}

export interface Model {
  readonly pods: readonly ModelPod[];
  /** Labels of every namespace, `kubernetes.io/metadata.name` included. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly policies: readonly V1NetworkPolicy[];
}

export interface Flow {
  readonly source: ModelPod;
  readonly destination: ModelPod;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** Port of the destination pod, after any translation. */
  readonly port: number;
}

export interface DirectionVerdict {
  readonly allowed: boolean;
  /** In words: `default: no policy selects x/a for ingress`, `x/allow-b ingress rule 0`, `no rule of x/deny matches`. */
  readonly why: string;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}

// SPDX-License-Identifier: Apache-2.0
// ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, as the resource definition beside it declares it.

import type { LabelSelector, ObjectMeta } from '../../machinery/api-types.ts';
import type { Resource } from '../../machinery/resources.ts';

export interface ClusterNetworkPolicy {
  readonly metadata: ObjectMeta;
  readonly spec: ClusterNetworkPolicySpec;
}

export interface ClusterNetworkPolicySpec {
  readonly tier: ClusterTier;
  /** 0 to 1000; the lower is asked first. */
  readonly priority: number;
  readonly subject: PodsPeer;
  readonly ingress?: readonly (ClusterRule & { readonly from?: readonly ClusterPeer[] })[];
  readonly egress?: readonly (ClusterRule & { readonly to?: readonly ClusterPeer[] })[];
}

export type ClusterTier = 'Admin' | 'Baseline';

export interface ClusterRule {
  readonly name?: string;
  readonly action: 'Accept' | 'Deny' | 'Pass';
  /** Absent: every protocol and port. */
  readonly protocols?: readonly ClusterProtocol[];
}

export interface PodsPeer {
  readonly namespaces?: LabelSelector;
  readonly pods?: { readonly namespaceSelector?: LabelSelector; readonly podSelector?: LabelSelector };
}

/** Exactly one field. `nodes` and `networks` in egress rules only. */
export interface ClusterPeer extends PodsPeer {
  readonly nodes?: LabelSelector;
  readonly networks?: readonly string[];
}

/** Exactly one field. */
export interface ClusterProtocol {
  readonly tcp?: DestinationPort;
  readonly udp?: DestinationPort;
  readonly sctp?: DestinationPort;
  readonly destinationNamedPort?: string;
}

interface DestinationPort {
  readonly destinationPort?: {
    readonly number?: number;
    readonly range?: { readonly start: number; readonly end: number };
  };
}

export const clusterNetworkPolicies: Resource = {
  group: 'policy.networking.k8s.io',
  version: 'v1alpha2',
  plural: 'clusternetworkpolicies',
  kind: 'ClusterNetworkPolicy',
  namespaced: false,
};

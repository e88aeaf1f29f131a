// SPDX-License-Identifier: Apache-2.0
/** ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, as far as it decides about packets. */
import type { V1LabelSelector } from '@kubernetes/client-node';

export interface ClusterNetworkPolicy {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly name?: string };
  readonly spec: ClusterNetworkPolicySpec;
}

export interface ClusterNetworkPolicySpec {
  readonly tier: 'Admin' | 'Baseline';
  /** 0 to 1000; the lower is asked first. */
  readonly priority: number;
  readonly subject: ClusterPolicySubject;
  readonly ingress?: readonly ClusterPolicyRule[];
  readonly egress?: readonly ClusterPolicyRule[];
}

export interface ClusterPolicySubject {
  readonly namespaces?: V1LabelSelector;
  readonly pods?: NamespacedPods;
}

interface NamespacedPods {
  readonly namespaceSelector?: V1LabelSelector;
  readonly podSelector?: V1LabelSelector;
}

export interface ClusterPolicyRule {
  readonly name?: string;
  readonly action: 'Accept' | 'Deny' | 'Pass';
  /** Peers of an ingress rule. */
  readonly from?: readonly ClusterPolicyPeer[];
  /** Peers of an egress rule. */
  readonly to?: readonly ClusterPolicyPeer[];
  readonly protocols?: readonly ClusterPolicyProtocol[];
}

export interface ClusterPolicyPeer extends ClusterPolicySubject {
  readonly nodes?: V1LabelSelector;
  readonly networks?: readonly string[];
  readonly domainNames?: readonly string[];
}

export interface ClusterPolicyProtocol {
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

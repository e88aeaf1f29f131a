// SPDX-License-Identifier: Apache-2.0
/**
 * What the reachability oracle looks at: pods, nodes, namespaces, Services and policies, as the API has them, and nothing of any
 * implementation.
 */
import type { V1NetworkPolicy } from '@kubernetes/client-node';
import type { ClusterNetworkPolicy } from './cluster-network-policy.ts';

export type Labels = Readonly<Record<string, string>>;
export type TransportProtocol = 'tcp' | 'udp' | 'sctp';
export type Family = 4 | 6;

export interface ModelPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly node: string;
  /** Named container ports: `tcp/web` to 8080. */
  readonly namedPorts: Readonly<Record<string, number>>;
  /** Shares its node's network: no policy selects it, neither as a subject nor as a peer; it counts as its node. */
  readonly hostNetwork?: boolean;
  /** Not ready pods are no endpoints. Absent means ready. */
  readonly ready?: boolean;
}

export interface ModelNode {
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
}

interface ModelServicePort {
  readonly name: string;
  readonly protocol: TransportProtocol;
  readonly port: number;
  /** A number, or the name of a container port, which may be another number on each pod. */
  readonly targetPort: number | string;
  readonly nodePort?: number;
}

export interface ModelService {
  readonly namespace: string;
  readonly name: string;
  /** Empty for a headless Service and for an ExternalName. */
  readonly clusterIPs: readonly string[];
  readonly externalIPs?: readonly string[];
  readonly selector: Labels | undefined;
  readonly ports: readonly ModelServicePort[];
  /** Of a Service without selector: where its EndpointSlices lead. */
  readonly endpoints?: readonly { readonly address: string; readonly port: number; readonly portName: string }[];
  readonly publishNotReadyAddresses?: boolean;
  readonly internalTrafficPolicy?: 'Cluster' | 'Local';
  readonly externalTrafficPolicy?: 'Cluster' | 'Local';
}

export interface Model {
  readonly pods: readonly ModelPod[];
  /** Labels of every namespace, `kubernetes.io/metadata.name` included. */
  readonly namespaces: ReadonlyMap<string, Labels>;
  readonly policies: readonly V1NetworkPolicy[];
  readonly clusterPolicies?: readonly ClusterNetworkPolicy[];
  readonly nodes?: readonly ModelNode[];
  readonly services?: readonly ModelService[];
}

/** Whatever is no pod: a machine outside, or a node itself. */
export interface ModelAddress {
  readonly address: string;
}

export type Party = ModelPod | ModelAddress;

export interface Flow {
  readonly source: Party;
  readonly destination: Party;
  readonly protocol: TransportProtocol;
  /** Port of the destination, after any translation. */
  readonly port: number;
  /** Default: the first family that both ends have. */
  readonly family?: Family;
  /** Translated by a Service on the way: then even a pod's packets to itself leave it. */
  readonly throughService?: boolean;
}

export type TierName = 'Admin' | 'NetworkPolicy' | 'Baseline';

/** What one tier says about a flow in one direction. */
export interface TierStep {
  readonly tier: TierName;
  readonly action: 'Accept' | 'Deny' | 'Pass';
  /** `x/allow-b ingress rule 0`, `no ingress rule of x/deny matches`. */
  readonly why: string;
  /** The policy whose rule decided, or all that have none that matches: `x/deny`, or a cluster policy's name. */
  readonly policies: readonly string[];
  /** Policies of one priority disagree here, and the API leaves it to the implementation which of them wins. */
  readonly ambiguous?: boolean;
}

export interface DirectionVerdict {
  readonly allowed: boolean;
  /** In words: `default: no policy selects x/a for ingress`, `x/allow-b ingress rule 0`, `no rule of x/deny matches`. */
  readonly why: string;
  /** The tiers that had something to say, in the order in which they were asked; the last one decided, unless it passed. */
  readonly steps: readonly TierStep[];
  readonly ambiguous: boolean;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}

/** What a tier is asked: may `subject` exchange this flow with `peer`? */
export interface Question {
  readonly model: Model;
  readonly flow: Flow;
  readonly type: 'Ingress' | 'Egress';
  /** The pod whose policies are asked. */
  readonly subject: ModelPod;
  readonly peer: Party;
  /** The peer's address in the family of the flow. */
  readonly peerAddress: string;
}

export function isPod(party: Party): party is ModelPod {
  return 'namespace' in party;
}

export function partyName(party: Party): string {
  return isPod(party) ? `${party.namespace}/${party.name}` : party.address;
}

/** The number behind a port name: the pod's own. What is in the host network is no pod to a policy and has no names. */
export function numberOfPort(party: Party, protocol: TransportProtocol, name: string): number | undefined {
  return isPod(party) && party.hostNetwork !== true ? party.namedPorts[`${protocol}/${name}`] : undefined;
}

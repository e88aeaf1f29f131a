// SPDX-License-Identifier: Apache-2.0
/** What a trace concludes. */
import type { FlowTuple, Place } from './observations.ts';

export const reasons = [
  'policy',
  'default-deny',
  'no-endpoints',
  'no-listener',
  'refused',
  'no-route',
  'neighbour-missing',
  'mtu',
  'reverse-path',
  'conntrack-full',
  'conntrack-clash',
  'tunnel',
  'checksum',
  'foreign-firewall',
  'policy-engine',
  'source-translated',
  'not-programmed',
  'stale-endpoint',
  'forwarding-off',
  'link-down',
  'node-down',
  'between-nodes',
  'name-resolution',
  'application',
  'unknown',
] as const;
export type Reason = (typeof reasons)[number];

/** One place on the way, in order. */
export interface Hop extends FlowTuple {
  readonly place: Place;
  /** Since the first hop; microseconds. */
  readonly afterUs: number;
  /** Addresses or ports differ from those at the hop before. */
  readonly translated: boolean;
  readonly tunnel?: string;
  /** Rules with a say that the packet met on the node between the hop before and this one. */
  readonly rules: readonly string[];
}

export interface TraceVerdict {
  readonly outcome: 'delivered' | 'not-delivered' | 'inconclusive';
  readonly reason: Reason | undefined;
  /** One sentence. */
  readonly summary: string;
  /** Where it ended: on the way there or back, and the last place where it was seen. */
  readonly ended?: { readonly way: 'there' | 'back'; readonly node: string; readonly after: string | undefined };
  readonly rule?: string;
  /** Kubernetes objects behind it: `NetworkPolicy shop/deny`, `Service shop/web`. */
  readonly objects: readonly string[];
  readonly next: string;
  /** What it rests on, one fact each. */
  readonly evidence: readonly string[];
  readonly there: readonly Hop[];
  readonly back: readonly Hop[];
  readonly gaps: readonly string[];
}

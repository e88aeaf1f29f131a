// SPDX-License-Identifier: Apache-2.0
// The shape that every controller has, and what it is given. A controller registers its informers and queues in `setup`;
// the process starts the queues when all informers are synced and this copy leads.
import type { Client } from '../machinery/client.ts';
import type { EventRecorder } from '../machinery/events.ts';
import type { WorkQueue } from '../machinery/work-queue.ts';
import type { InformerSet } from './informer-set.ts';

/** What the flags of the process mean for the controllers. */
export interface Settings {
  readonly clusterCidrs: readonly string[];
  /** Prefix length of a node's part of an IPv4 and of an IPv6 range. */
  readonly nodeCidrMaskSizes: { readonly 4: number; readonly 6: number };
  /** PEM of the CA that pods are told to trust. */
  readonly rootCa?: string;
  readonly serviceAccountPrivateKey?: string;
  readonly signingCertificate?: string;
  readonly signingKey?: string;
  readonly signingDurationMs: number;
  readonly nodeMonitorGracePeriodMs: number;
  /** `FIRST-LAST` each, both included: addresses for Services of type LoadBalancer; without any, they get none. */
  readonly loadBalancerRanges?: readonly string[];
}

export interface ControllerContext {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly settings: Settings;
  readonly now: () => number;
  /** Recorder of events under the component's name, e.g. `deployment-controller`. */
  recorder(component: string): EventRecorder;
}

export interface Running {
  readonly queues?: readonly WorkQueue[];
  /** Anything besides queues, such as periodic work; ends when `signal` aborts. */
  readonly run?: (signal: AbortSignal) => void;
}

export interface Controller {
  /** As `--controllers` spells it, e.g. `replicaset-controller`. */
  readonly name: string;
  /**
   * Whose rights it has, in kube-system: the API server binds a role to each (`system:controller:NAME`). Absent: those of
   * the process.
   */
  readonly serviceAccount?: string;
  setup(context: ControllerContext): Running;
}

/** Calls `work` every `periodMs` until `signal` aborts, never twice at a time; failures are left to the next round. */
export function every(periodMs: number, signal: AbortSignal, work: () => Promise<void> | void): void {
  let timer: NodeJS.Timeout | undefined;
  const round = async (): Promise<void> => {
    try {
      await work();
    } catch {
      // The next round sees the same state and tries again.
    }
    if (!signal.aborted) timer = setTimeout(() => void round(), periodMs);
  };
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  void round();
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The seam between the runner and the probes. The runner makes one fleet per run and hands each case a view of it; the fleet knows
 * nothing about cases, verdicts or reports.
 */
import type { KubeConfig } from '@kubernetes/client-node';

export interface ProbeFleetOptions {
  /** Every request and exec stream of the fleet goes through it. Its connections are pooled. */
  readonly kubeConfig: KubeConfig;
  /** Probe image, such as `plumbline.local/probe:0.1.0`. */
  readonly image: string;
  /** Labels for everything the fleet creates, `plumbline.io/run-id` among them. */
  readonly labels: Readonly<Record<string, string>>;
  /** Makes a namespace of the run that lives until its end. `restricted` for ordinary probes, `privileged` for node probes. */
  readonly namespace: (purpose: string, podSecurity: 'restricted' | 'privileged') => Promise<string>;
  /** Names of Ready nodes that take ordinary pods. */
  readonly workers: readonly string[];
  /** False with --no-node-probes: asking for one is then an error that says so. */
  readonly nodeProbes: boolean;
  readonly log: (message: string) => void;
  readonly signal: AbortSignal;
}

export interface ProbeFleet {
  forCase(scope: ProbeScope): CaseProbes;
  /** Closes all streams. Pods go with their namespaces, which the runner deletes. */
  close(): Promise<void>;
}

/** What the fleet may use on behalf of one case. */
export interface ProbeScope {
  readonly caseId: string;
  /** The namespace in which the case's own probe pods are started, unless the case names another. */
  readonly namespace: () => Promise<string>;
  readonly attach: (evidence: {
    name: string;
    content: string | Uint8Array;
    summary?: string;
    role?: 'explanation' | 'detail';
  }) => Promise<void>;
  /** Runs when the case has failed, before its namespaces go: the moment to capture the failing flow again. */
  readonly onFailure: (hook: (error: Error) => Promise<void>) => void;
  readonly onTeardown: (hook: () => Promise<void>) => void;
  readonly signal: AbortSignal;
}

/** What a case sees as `t.probes`. */
export interface CaseProbes {
  readonly scope: ProbeScope;
}

// SPDX-License-Identifier: Apache-2.0
/** What probes can do, as cases and evidence see them. */
import type { Attempt, AttemptResult, DnsQuestion, DnsResult, Listen, Receipt } from './protocol.ts';

/** An attempt as a case asks for it; the rest is filled in. */
export type AttemptRequest = Omit<Attempt, 'nonce' | 'timeoutMs'> & { readonly timeoutMs?: number };

/** Where attempts can start from: a pod, or a node. */
export interface Prober {
  /** For messages: `pod x/a on node1`, `node node1`. */
  readonly description: string;
  readonly node: string;
  /** One attempt; 2 s unless told. */
  attempt(request: AttemptRequest): Promise<AttemptResult>;
  /** A batch, up to 32 at once unless told; results in the given order. */
  attempts(requests: readonly AttemptRequest[], options?: { readonly concurrency?: number }): Promise<AttemptResult[]>;
  dns(question: Omit<DnsQuestion, 'timeoutMs'> & { readonly timeoutMs?: number }): Promise<DnsResult>;
  /** As programs resolve names: search list, ndots, /etc/hosts. */
  resolve(
    name: string,
    family?: 0 | 4 | 6,
  ): Promise<{ readonly addresses: readonly string[]; readonly error?: string }>;
  /** Runs a command in the probe's container. */
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecOutcome>;
}

export interface ExecOptions {
  readonly timeoutMs?: number;
  readonly stdin?: string | Uint8Array;
}

export interface ExecOutcome {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface ProbePod extends Prober {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly ips: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  listen(ports: readonly Listen[]): Promise<void>;
  unlisten(ports: readonly Listen[]): Promise<void>;
  /** Which of these requests arrived here. */
  receipts(nonces: readonly string[]): Promise<readonly Receipt[]>;
}

export type NodeProbe = Prober;

/** An attempt that was made, by whom; the newest failed one is what the failure hook looks at again. */
export interface MadeAttempt {
  readonly from: Prober;
  readonly request: AttemptRequest;
  readonly result: AttemptResult;
}

/** Keeps a piece of evidence beside the result of the case. */
export type Attach = (evidence: {
  name: string;
  content: string | Uint8Array;
  summary?: string;
  role?: 'explanation' | 'detail';
}) => Promise<void>;

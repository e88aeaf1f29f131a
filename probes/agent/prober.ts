// SPDX-License-Identifier: Apache-2.0
/** What probes can do, as cases and evidence see them. */
import type {
  Attempt,
  AttemptResult,
  DnsQuestion,
  DnsResult,
  Listen,
  Receipt,
  StreamOutcome,
  StreamTarget,
} from './protocol.ts';

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

/** Answers on ports, and remembers what arrived. */
export interface Receiver {
  listen(ports: readonly Listen[]): Promise<void>;
  unlisten(ports: readonly Listen[]): Promise<void>;
  /** Which of these requests arrived here. */
  receipts(nonces: readonly string[]): Promise<readonly Receipt[]>;
  /** Everything of that stream that arrived here. */
  receiptsOfStream(stream: string): Promise<readonly Receipt[]>;
}

export interface ProbePod extends Prober, Receiver {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly ips: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Sends numbered probes to all targets until `stop`, which resolves to what became of them. */
  stream(targets: readonly StreamTarget[]): Promise<ProbeStream>;
  /** How far the pod's clock is ahead of ours, in milliseconds, and how far that may be off. */
  clockOffset(): Promise<{ readonly aheadMs: number; readonly uncertainMs: number }>;
}

export interface ProbeStream {
  /** Front of the nonces of its probes: `<name>-<index of the target>-<number of the probe>`. */
  readonly name: string;
  stop(): Promise<readonly StreamOutcome[]>;
}

export type NodeProbe = Prober & Receiver;

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

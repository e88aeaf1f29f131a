// SPDX-License-Identifier: Apache-2.0
/**
 * The host's end of the conversation with an agent: one long-lived exec stream through the API server, so that orders and answers
 * never depend on the network under test. A broken stream is opened anew by the next request; what was under way is reported as
 * inconclusive, never as a result.
 */
import { PassThrough } from 'node:stream';
import { Exec, type KubeConfig } from '@kubernetes/client-node';
import { protocolVersion, type AgentReply, type OperationName, type Operations } from './protocol.ts';

/** The prober, or the way to it, broke: nothing is said about the cluster's network. */
export class ProbeError extends Error {
  override readonly name = 'ProbeError';
  readonly inconclusive = true;
}

export interface AgentAddress {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  /** What to exec: the way to the control port, or the agent itself with `stdio`. */
  readonly command: readonly string[];
}

export interface RequestOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

interface Waiting {
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Stream {
  readonly send: (line: string) => void;
  readonly close: () => void;
}

const retryMs = 50;

export class AgentHost {
  readonly #config: KubeConfig;
  readonly #address: AgentAddress;
  readonly #waiting = new Map<number, Waiting>();
  #stream: Promise<Stream> | undefined;
  #nextId = 1;
  #closed = false;

  constructor(config: KubeConfig, address: AgentAddress) {
    this.#config = config;
    this.#address = address;
  }

  /** Resolves once the agent answers and speaks our version. Rejects with a ProbeError at the deadline. */
  async connect(options: RequestOptions): Promise<void> {
    const deadline = performance.now() + options.timeoutMs;
    for (;;) {
      try {
        const left = Math.max(1, deadline - performance.now());
        const { version } = await this.request('hello', {}, { ...options, timeoutMs: left });
        if (version === protocolVersion) return;
        throw new TypeError(
          `the agent in ${this.#where()} speaks version ${version}, not ${protocolVersion}: its image is of another release; give --image one of this release`,
        );
      } catch (error) {
        // The agent may need a moment to listen after its container has started.
        if (!(error instanceof ProbeError) || performance.now() + retryMs > deadline || options.signal.aborted)
          throw error;
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  /** Errors: ProbeError when the stream or the agent fails, or nothing comes within the time-out. */
  async request<Name extends OperationName>(
    operation: Name,
    input: Operations[Name]['in'],
    { timeoutMs, signal }: RequestOptions,
  ): Promise<Operations[Name]['out']> {
    signal.throwIfAborted();
    if (this.#closed) throw new ProbeError(`the stream to ${this.#where()} was closed`);
    const stream = await (this.#stream ??= this.#open());
    const id = this.#nextId++;
    let release = (): void => undefined;
    try {
      const output = await new Promise<unknown>((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(new ProbeError(`${this.#where()}: no answer to "${operation}" within ${Math.round(timeoutMs)} ms`)),
          timeoutMs,
        );
        const onAbort = (): void => reject(signal.reason instanceof Error ? signal.reason : new ProbeError('aborted'));
        signal.addEventListener('abort', onAbort, { once: true });
        release = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
        };
        this.#waiting.set(id, { resolve, reject });
        stream.send(`${JSON.stringify({ id, operation, input })}\n`);
      });
      // Both ends are of one version (checked by `connect`), so the shape is the operation's.
      return output as Operations[Name]['out'];
    } finally {
      release();
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#closed = true;
    void this.#stream?.then(
      (stream) => stream.close(),
      () => undefined,
    );
    this.#fail('the stream was closed');
  }

  async #open(): Promise<Stream> {
    const { namespace, pod, container, command } = this.#address;
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    let complaint = '';
    stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-500)));
    this.#readLines(stdout);
    const lost = (why: string): void => {
      this.#stream = undefined;
      this.#fail([why, complaint.trim()].filter((part) => part !== '').join(': '));
    };
    try {
      const socket = await new Exec(this.#config).exec(
        namespace,
        pod,
        container,
        [...command],
        stdout,
        stderr,
        stdin,
        false,
        (status) => lost(`the stream ended (${status.message ?? status.status ?? 'no status'})`),
      );
      socket.addEventListener('close', () => lost('the connection was lost'));
      return { send: (line) => void stdin.write(line), close: () => socket.close() };
    } catch (error) {
      this.#stream = undefined;
      const message =
        typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
      throw new ProbeError(`cannot exec in ${this.#where()}: ${message}`, { cause: error });
    }
  }

  #readLines(stdout: PassThrough): void {
    let rest = '';
    stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#receive(line);
    });
  }

  #receive(line: string): void {
    let reply: AgentReply;
    try {
      reply = JSON.parse(line) as AgentReply;
    } catch {
      this.#fail(`something that is not a reply came: ${line.slice(0, 100)}`);
      return;
    }
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    if ('error' in reply) waiting.reject(new ProbeError(`${this.#where()}: ${reply.error}`));
    else waiting.resolve(reply.output);
  }

  #fail(why: string): void {
    for (const { reject } of this.#waiting.values()) reject(new ProbeError(`${this.#where()}: ${why}`));
    this.#waiting.clear();
  }

  #where(): string {
    return `probe pod ${this.#address.namespace}/${this.#address.pod}`;
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The host's end of a node session: programs, files and the clock of one node, over one exec stream through the API server. A broken stream
 * ends the session: every order and every process under way is told so.
 */
import { PassThrough } from 'node:stream';
import { Exec, type KubeConfig } from '@kubernetes/client-node';
import { ProbeError, type AgentAddress } from '../agent/agent-host.ts';
import {
  FrameReader,
  frameKind,
  sessionVersion,
  signOfLifeMs,
  wallClockBase,
  type FrameKind,
  type OrderName,
  type Orders,
  type ProcessOrder,
} from './protocol.ts';

/** What to exec in a node probe. */
export const sessionCommand: readonly string[] = [
  '/usr/bin/node',
  '--max-semi-space-size=1',
  '--v8-pool-size=1',
  '/app/agent.mjs',
  'node',
];

export interface StartedProcess {
  /** Resolves to the exit code; never rejects: -1 says that the session was lost. */
  readonly ended: Promise<number>;
  write(text: string, options?: { readonly end?: boolean }): Promise<void>;
  stop(): Promise<void>;
}

export interface ProcessListener {
  readonly stdout?: (chunk: Buffer) => void;
  readonly stderr?: (chunk: Buffer) => void;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How far a node's clock is ahead of this machine's, and by how much that may be wrong. Milliseconds. */
export interface ClockOffset {
  readonly aheadMs: number;
  readonly uncertaintyMs: number;
}

interface Waiting {
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Listening extends ProcessListener {
  readonly exit: (code: number) => void;
}

const orderTimeoutMs = 20_000;
const runTimeoutMs = 15_000;

export class NodeSession {
  readonly node: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #processes = new Map<number, Listening>();
  readonly #stdin = new PassThrough();
  #close = (): void => undefined;
  #lost: string | undefined;
  #nextId = 1;

  private constructor(node: string) {
    this.node = node;
  }

  /** Errors: ProbeError when the exec fails or the agent is of another version. */
  static async open(config: KubeConfig, address: AgentAddress & { readonly node: string }): Promise<NodeSession> {
    const session = new NodeSession(address.node);
    await session.#connect(config, address);
    const { version } = await session.order('hello', {});
    if (version !== sessionVersion) {
      session.close();
      throw new ProbeError(
        `the node probe on ${address.node} speaks version ${version}, not ${sessionVersion}: its image is of another release`,
      );
    }
    // Without an answer the connection is dead, whatever the socket says: who waits for a process would wait for ever.
    const life = setInterval(
      () => void session.order('clock', {}).catch(() => session.#end(`no sign of life within ${orderTimeoutMs} ms`)),
      signOfLifeMs,
    );
    life.unref();
    session.onLost(() => clearInterval(life));
    return session;
  }

  readonly #lostHooks: (() => void)[] = [];

  onLost(hook: () => void): void {
    this.#lostHooks.push(hook);
  }

  async order<Name extends OrderName>(
    order: Name,
    input: Orders[Name]['in'],
    timeoutMs: number = orderTimeoutMs,
  ): Promise<Orders[Name]['out']> {
    const id = this.#nextId++;
    return this.#send(order, input, { id, timeoutMs });
  }

  async #send<Name extends OrderName>(
    order: Name,
    input: Orders[Name]['in'],
    { id, timeoutMs }: { readonly id: number; readonly timeoutMs: number },
  ): Promise<Orders[Name]['out']> {
    if (this.#lost !== undefined) throw new ProbeError(`node ${this.node}: ${this.#lost}`);
    let timer: NodeJS.Timeout | undefined;
    try {
      const output = await new Promise<unknown>((resolve, reject) => {
        timer = setTimeout(
          () => reject(new ProbeError(`node ${this.node}: no answer to "${order}" within ${timeoutMs} ms`)),
          timeoutMs,
        );
        this.#waiting.set(id, { resolve, reject });
        this.#stdin.write(`${JSON.stringify({ id, order, input })}\n`);
      });
      // Both ends are of one version, so the shape is the order's.
      return output as Orders[Name]['out'];
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Runs a program to its end, in the node's network namespace or in that of a process. */
  run(argv: readonly string[], options: Omit<ProcessOrder, 'argv'> & { timeoutMs?: number } = {}): Promise<RunResult> {
    const timeoutMs = options.timeoutMs ?? runTimeoutMs;
    return this.order('run', { argv, ...options, timeoutMs }, timeoutMs + 5_000);
  }

  /** Runs a program to its end; its output is bytes of any number. Errors: ProbeError when it takes longer, or the session is lost. */
  async output(argv: readonly string[], timeoutMs: number): Promise<{ readonly stdout: Buffer }> {
    const chunks: Buffer[] = [];
    const process = await this.start({ argv }, { stdout: (chunk) => chunks.push(chunk) });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), timeoutMs)));
    const code = await Promise.race([process.ended, late]);
    clearTimeout(timer);
    if (code === 'late') {
      await process.stop();
      throw new ProbeError(`node ${this.node}: ${argv[0]} did not end within ${timeoutMs} ms`);
    }
    if (code === -1) throw new ProbeError(`node ${this.node}: ${this.#lost ?? 'the session was lost'}`);
    return { stdout: Buffer.concat(chunks) };
  }

  async start(order: ProcessOrder, listener: ProcessListener): Promise<StartedProcess> {
    const id = this.#nextId++;
    let exited: (code: number) => void = () => undefined;
    const ended = new Promise<number>((resolve) => (exited = resolve));
    this.#processes.set(id, { ...listener, exit: exited });
    try {
      await this.#send('start', order, { id, timeoutMs: orderTimeoutMs });
    } catch (error) {
      this.#processes.delete(id);
      throw error;
    }
    return {
      ended,
      write: async (text, { end = false } = {}) => void (await this.order('write', { process: id, text, end })),
      stop: async () => {
        if (this.#processes.has(id)) await this.order('stop', { process: id });
      },
    };
  }

  async read(paths: readonly string[]): Promise<readonly (string | undefined)[]> {
    const { texts } = await this.order('read', { paths });
    return texts.map((text) => text ?? undefined);
  }

  /** The best of several round trips decides; the truth lies within half of that round trip. */
  async clockOffset(turns = 7): Promise<ClockOffset> {
    const base = wallClockBase();
    let best: ClockOffset | undefined;
    for (let turn = 0; turn < turns; turn++) {
      const before = performance.now();
      const { at } = await this.order('clock', {});
      const after = performance.now();
      const uncertaintyMs = (after - before) / 2;
      const aheadMs = at - (base + (before + after) / 2);
      if (best === undefined || uncertaintyMs < best.uncertaintyMs) best = { aheadMs, uncertaintyMs };
    }
    return best ?? { aheadMs: 0, uncertaintyMs: 0 };
  }

  /** Ends the session, and on the node everything that it started. */
  close(): void {
    this.#end('the session was closed');
    this.#stdin.end();
    this.#close();
  }

  async #connect(config: KubeConfig, { namespace, pod, container, command }: AgentAddress): Promise<void> {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const frames = new FrameReader((kind, id, content) => this.#receive(kind, id, content));
    stdout.on('data', (chunk: Buffer) => frames.push(chunk));
    let complaint = '';
    stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-500)));
    const lost = (why: string): void => this.#end([why, complaint.trim()].filter((one) => one !== '').join(': '));
    try {
      const socket = await new Exec(config).exec(
        namespace,
        pod,
        container,
        [...command],
        stdout,
        stderr,
        this.#stdin,
        false,
        (status) => lost(`the stream ended (${status.message ?? status.status ?? 'no status'})`),
      );
      socket.addEventListener('close', () => lost('the connection was lost'));
      this.#close = () => socket.close();
    } catch (error) {
      const message =
        typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
      throw new ProbeError(`cannot exec in node probe ${namespace}/${pod}: ${message}`, { cause: error });
    }
  }

  #receive(kind: FrameKind, id: number, content: Buffer): void {
    if (kind === frameKind.stdout) this.#processes.get(id)?.stdout?.(content);
    else if (kind === frameKind.stderr) this.#processes.get(id)?.stderr?.(content);
    else if (kind === frameKind.exit) {
      this.#processes.get(id)?.exit(Number(content.toString()));
      this.#processes.delete(id);
    } else if (kind === frameKind.reply) this.#waiting.get(id)?.resolve(JSON.parse(content.toString()));
    else this.#waiting.get(id)?.reject(new ProbeError(`node ${this.node}: ${content.toString()}`));
  }

  #end(why: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = why;
    for (const { reject } of this.#waiting.values()) reject(new ProbeError(`node ${this.node}: ${why}`));
    for (const { exit } of this.#processes.values()) exit(-1);
    this.#processes.clear();
    for (const hook of this.#lostHooks) hook();
  }
}

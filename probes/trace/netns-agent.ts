// SPDX-License-Identifier: Apache-2.0
/** The probe's agent within the network of a pod or of a node, without anything in the pod itself: started from the node, in its namespace. */
import { ProbeError } from '../agent/agent-host.ts';
import type { AgentReply, OperationName, Operations } from '../agent/protocol.ts';
import type { NodeSession, StartedProcess } from '../node-session/node-session.ts';

const agentCommand = ['/usr/bin/node', '--max-semi-space-size=1', '--v8-pool-size=1', '/app/agent.mjs', 'stdio'];

export class NetnsAgent {
  readonly #process: StartedProcess;
  readonly #waiting: Map<number, (reply: AgentReply | undefined) => void>;
  #nextId = 1;

  private constructor(process: StartedProcess, waiting: Map<number, (reply: AgentReply | undefined) => void>) {
    this.#process = process;
    this.#waiting = waiting;
  }

  /** @param pid of a process in the namespace; absent: the node's own. */
  static async start(session: NodeSession, pid: number | undefined): Promise<NetnsAgent> {
    const waiting = new Map<number, (reply: AgentReply | undefined) => void>();
    let rest = '';
    const process = await session.start(
      { argv: agentCommand, ...(pid === undefined ? {} : { pid }) },
      {
        stdout: (chunk) => {
          const lines = (rest + chunk.toString()).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            const reply = JSON.parse(line) as AgentReply;
            waiting.get(reply.id)?.(reply);
          }
        },
      },
    );
    void process.ended.then(() => {
      for (const settle of waiting.values()) settle(undefined);
    });
    return new NetnsAgent(process, waiting);
  }

  async request<Name extends OperationName>(
    operation: Name,
    input: Operations[Name]['in'],
  ): Promise<Operations[Name]['out']> {
    const id = this.#nextId++;
    const reply = new Promise<AgentReply | undefined>((resolve) => this.#waiting.set(id, resolve));
    await this.#process.write(`${JSON.stringify({ id, operation, input })}\n`);
    const answer = await reply;
    this.#waiting.delete(id);
    if (answer === undefined) throw new ProbeError(`the agent ended before it answered "${operation}"`);
    if ('error' in answer) throw new ProbeError(answer.error);
    return answer.output as Operations[Name]['out'];
  }

  async close(): Promise<void> {
    await this.#process.write('', { end: true });
    await this.#process.ended;
  }
}

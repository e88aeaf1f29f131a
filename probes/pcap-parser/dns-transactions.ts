// SPDX-License-Identifier: Apache-2.0
/** Pairs DNS questions with their answers: how long they took, which failed, which never came. Bounded as flows are. */
import type { Frame } from './frame.ts';

const mostPending = 50_000;
const mostFailures = 1000;
const responseNames = ['NoError', 'FormErr', 'ServFail', 'NXDomain', 'NotImp', 'Refused'];

export interface DnsFailure {
  readonly server: string;
  readonly name: string;
  /** NXDomain, ServFail..., or "no answer". */
  readonly reason: string;
}

interface Question {
  readonly server: string;
  readonly name: string;
  readonly time: number;
}

export class DnsTransactions {
  answers = 0;
  totalSeconds = 0;
  slowestSeconds = 0;
  readonly #pending = new Map<string, Question>();
  readonly #failures: DnsFailure[] = [];

  /** Failed ones first, then those that nobody answered within the capture. */
  get failures(): DnsFailure[] {
    const unanswered = Array.from(this.#pending.values(), ({ server, name }) => ({
      server,
      name,
      reason: 'no answer',
    }));
    return [...this.#failures, ...unanswered].slice(0, mostFailures);
  }

  add(frame: Frame, flowKey: string, time: number): void {
    const at = frame.transport + 8;
    const flags = frame.u16(at + 2);
    if (flags < 0 || frame.u16(at + 4) < 1) return;
    const key = `${flowKey}${frame.u16(at)}`;
    if ((flags & 0x8000) === 0) {
      if (this.#pending.has(key)) return;
      if (this.#pending.size >= mostPending) {
        const [oldest] = this.#pending.keys();
        if (oldest !== undefined) this.#pending.delete(oldest);
      }
      this.#pending.set(key, { server: frame.destinationAddress, name: questionName(frame, at + 12), time });
      return;
    }
    const question = this.#pending.get(key);
    if (question === undefined) return;
    this.#pending.delete(key);
    const took = time - question.time;
    this.answers++;
    this.totalSeconds += took;
    this.slowestSeconds = Math.max(this.slowestSeconds, took);
    const code = flags & 15;
    if (code !== 0 && this.#failures.length < mostFailures)
      this.#failures.push({
        server: question.server,
        name: question.name,
        reason: responseNames[code] ?? `code ${code}`,
      });
  }
}

/** The first name asked for, each label with its dot. */
export function questionName(frame: Frame, start: number): string {
  let name = '';
  for (let at = start; name.length < 256;) {
    const size = frame.u8(at);
    if (size <= 0 || size > 63 || at + 1 + size > frame.end) break;
    name += `${frame.data.toString('latin1', at + 1, at + 1 + size)}.`;
    at += 1 + size;
  }
  return name === '' ? '.' : name;
}

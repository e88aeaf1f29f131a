// SPDX-License-Identifier: Apache-2.0
/**
 * Numbered probes at an even pace, for finding out when a change takes hold and what passes meanwhile. Each probe has a flow of its own, or
 * all share one, as the target says. A probe without an answer by the time of the stop has none.
 */
import { createSocket } from 'node:dgram';
import { connect, isIP, type Socket } from 'node:net';
import { keepMark, type StreamOutcome, type StreamTarget } from './protocol.ts';

/** Below the second after which TCP sends its SYN again: an answer then belongs to the moment at which the probe was sent. */
const answerMs = 800;

interface Running {
  readonly outcome: () => StreamOutcome;
  readonly stop: () => void;
}

export class Streams {
  readonly #running = new Map<string, readonly Running[]>();

  /** Rejects a name that is in use. */
  start(stream: string, targets: readonly StreamTarget[]): void {
    if (this.#running.has(stream)) throw new Error(`there is a stream ${stream} already`);
    this.#running.set(
      stream,
      targets.map((target, index) => runTarget(`${stream}-${index}`, target)),
    );
  }

  stop(stream: string): StreamOutcome[] {
    const running = this.#running.get(stream);
    if (running === undefined) throw new Error(`there is no stream ${stream}`);
    this.#running.delete(stream);
    for (const one of running) one.stop();
    return running.map((one) => one.outcome());
  }
}

function now(): number {
  return performance.timeOrigin + performance.now();
}

function runTarget(name: string, target: StreamTarget): Running {
  const sentAt: number[] = [];
  const latencyMs: number[] = [];
  const answered = (number: number): void => {
    const sent = sentAt[number];
    if (sent !== undefined && latencyMs[number] === -1) latencyMs[number] = Math.round((now() - sent) * 100) / 100;
  };
  const way = target.kept ? keptFlow(target, answered) : freshFlows(target, answered);
  const clock = setInterval(() => {
    const number = sentAt.length;
    sentAt.push(now());
    latencyMs.push(-1);
    way.send(`${name}-${number}`, number);
  }, target.intervalMs);
  return {
    outcome: () => ({ sentAt: [...sentAt], latencyMs: [...latencyMs] }),
    stop: () => {
      clearInterval(clock);
      way.close();
    },
  };
}

interface Way {
  readonly send: (nonce: string, number: number) => void;
  readonly close: () => void;
}

/** A socket per probe. */
function freshFlows({ protocol, host, port }: StreamTarget, answered: (number: number) => void): Way {
  const open = new Set<() => void>();
  const send = (nonce: string, number: number): void => {
    let end = (): void => undefined;
    const finish = (): void => {
      if (!open.delete(finish)) return;
      clearTimeout(timer);
      end();
    };
    const timer = setTimeout(finish, answerMs);
    open.add(finish);
    const onAnswer = (): void => {
      answered(number);
      finish();
    };
    if (protocol === 'udp') {
      const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
      end = () => socket.close();
      socket.on('error', finish).on('message', onAnswer);
      socket.send(`${nonce}\n`, port, host);
      return;
    }
    const socket = connect({ host, port, allowHalfOpen: true });
    // A reset instead of an orderly end: hundreds of probes a second leave nothing waiting behind.
    end = () => socket.resetAndDestroy();
    socket
      .on('error', finish)
      .on('data', onAnswer)
      .on('connect', () => socket.write(`${nonce}\n`));
  };
  return {
    send,
    close: () => {
      for (const finish of open) finish();
    },
  };
}

/** All probes over one socket. A TCP connection that is gone is not made anew: that it is gone is the answer. */
function keptFlow({ protocol, host, port }: StreamTarget, answered: (number: number) => void): Way {
  const receive = (text: string): void => {
    for (const [, number] of text.matchAll(/^[a-z0-9]+-\d+-(\d+) /gm)) answered(Number(number));
  };
  const ignore = (): void => undefined;
  if (protocol === 'udp') {
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    socket.on('error', ignore).on('message', (message) => receive(message.toString('latin1')));
    return { send: (nonce) => socket.send(`${nonce}\n`, port, host, ignore), close: () => socket.close() };
  }
  const socket: Socket = connect({ host, port, noDelay: true });
  let rest = '';
  socket.on('error', ignore).on('data', (chunk) => {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    receive(lines.join('\n'));
  });
  return {
    send: (nonce) => void (socket.writable && socket.write(`${nonce}${keepMark}\n`)),
    close: () => socket.destroy(),
  };
}

// SPDX-License-Identifier: Apache-2.0
/** What watches a node's kernel while the probes are under way: traced rules, tracked connections, drop reasons. Each is there or says why it is not. */
import { randomBytes } from 'node:crypto';
import type { NodeSession, StartedProcess } from '../node-session/node-session.ts';
import { dropScript, instanceName, parseDrops } from './kernel-drops.ts';
import type { ConntrackEvent, KernelDrop, RuleStep } from './observations.ts';
import { parseConntrackEvents } from './route-text.ts';
import { markingCommands, parseRuleTrace, type MarkInput } from './rule-trace.ts';

const textMost = 8 * 1024 * 1024;
const readyMs = 5_000;
const pollMs = 20;

export interface Watched<T> {
  readonly found: readonly T[];
  readonly gap: string | undefined;
}

export interface Watcher<T> {
  /** @param correctionMs what to add to the node's clock. */
  stop(correctionMs: number): Promise<Watched<T>>;
}

/** Resolves once packets are marked. Never rejects. */
export async function watchRules(session: NodeSession, mark: Omit<MarkInput, 'name'>): Promise<Watcher<RuleStep>> {
  const name = `plumb_trace_${randomBytes(3).toString('hex')}`;
  let text = '';
  let complaint = '';
  let monitor: StartedProcess | undefined;
  let marker: StartedProcess | undefined;
  try {
    monitor = await session.start(
      { argv: ['nft', 'monitor', 'trace'] },
      { stdout: (chunk) => (text = text.length < textMost ? text + chunk.toString() : text) },
    );
    let answered: () => void = () => undefined;
    const listed = new Promise<void>((resolve) => (answered = resolve));
    marker = await session.start(
      { argv: ['nft', '-i'], stdin: `${markingCommands({ ...mark, name })}list chain inet ${name} out\n` },
      {
        stdout: (chunk) => {
          // The chain is shown when all its rules are in force.
          if (chunk.toString().includes('nftrace')) answered();
        },
        stderr: (chunk) => (complaint = (complaint + chunk.toString()).slice(-500)),
      },
    );
    await Promise.race([listed, marker.ended, pause(readyMs)]);
  } catch (error) {
    complaint = error instanceof Error ? error.message : String(error);
  }
  return {
    stop: async () => {
      await Promise.allSettled([marker?.stop(), monitor?.stop()]);
      await Promise.all([marker?.ended, monitor?.ended]);
      const found = parseRuleTrace(text, session.node, { ...mark, name });
      // What its line editor says of a terminal that is none.
      const words = complaint.replaceAll(/^.*(?:termcap|dumb terminal).*$/gm, '').trim();
      const gap = words === '' ? undefined : `rules on ${session.node} were not traced: ${words}`;
      return { found, gap };
    },
  };
}

/** Resolves once the kernel has the tool as a listener. Never rejects. */
export async function watchConnections(
  session: NodeSession,
  { protocol, clientPort }: Pick<MarkInput, 'protocol' | 'clientPort'>,
): Promise<Watcher<ConntrackEvent>> {
  let text = '';
  let complaint = '';
  let process: StartedProcess | undefined;
  let listens = false;
  try {
    const before = await eventListeners(session);
    process = await session.start(
      { argv: ['conntrack', '-E', '-o', 'timestamp', '-p', protocol, '--orig-port-src', String(clientPort)] },
      {
        stdout: (chunk) => (text = text.length < textMost ? text + chunk.toString() : text),
        stderr: (chunk) => (complaint = (complaint + chunk.toString()).slice(-500)),
      },
    );
    let runs = true;
    void process.ended.then(() => (runs = false));
    const deadline = performance.now() + readyMs;
    while (!listens && runs && performance.now() < deadline) {
      listens = !(await eventListeners(session)).isSubsetOf(before);
      if (!listens) await pause(pollMs);
    }
  } catch (error) {
    complaint = error instanceof Error ? error.message : String(error);
  }
  return {
    stop: async (correctionMs) => {
      await process?.stop().catch(() => undefined);
      await process?.ended;
      const gap = listens
        ? undefined
        : `tracked connections on ${session.node} were not followed: ${complaint.trim() || 'the kernel has no events of them'}`;
      return { found: parseConntrackEvents(text, session.node, correctionMs), gap };
    },
  };
}

const netlinkNetfilter = '12';

/** Sockets of the node that get any events of netfilter, by inode; their groups are the fourth column. Those of other traces come and go. */
async function eventListeners(session: NodeSession): Promise<Set<string>> {
  const [sockets = ''] = await session.read(['/proc/net/netlink']);
  const rows = sockets.split('\n').map((line) => line.trim().split(/\s+/));
  return new Set(
    rows.flatMap(([, family, , groups = '0', ...rest]) =>
      family === netlinkNetfilter && Number.parseInt(groups, 16) !== 0 ? [rest.at(-1) ?? ''] : [],
    ),
  );
}

/** Resolves once events come. Never rejects. */
export async function watchDrops(session: NodeSession): Promise<Watcher<KernelDrop>> {
  const instance = instanceName(Date.now(), randomBytes(3).toString('hex'));
  let text = '';
  let complaint = '';
  let ready: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (ready = resolve));
  let process: StartedProcess | undefined;
  try {
    process = await session.start(
      { argv: ['/bin/busybox', 'sh', '-c', dropScript(instance)] },
      {
        stdout: (chunk) => (text = text.length < textMost ? text + chunk.toString() : text),
        stderr: (chunk) => {
          complaint = (complaint + chunk.toString()).slice(-500);
          if (complaint.includes('ready')) ready();
        },
      },
    );
    await Promise.race([begun, process.ended, pause(readyMs)]);
  } catch (error) {
    complaint = error instanceof Error ? error.message : String(error);
  }
  return {
    stop: async (correctionMs) => {
      const clock = await session.order('clock', {}).catch(() => undefined);
      await process?.stop().catch(() => undefined);
      await process?.ended;
      if (clock === undefined || !complaint.includes('ready'))
        return {
          found: [],
          gap: `drop reasons of the kernel of ${session.node} were not to be had: ${complaint.trim() || 'no tracefs'}`,
        };
      const bootSeconds = (clock.at - clock.monotonic + correctionMs) / 1000;
      return { found: parseDrops(text, session.node, bootSeconds), gap: undefined };
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

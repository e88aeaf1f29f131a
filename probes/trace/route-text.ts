// SPDX-License-Identifier: Apache-2.0
/** Answers of `ip -j route get` and `conntrack` as data. Pure. */
import type { ConntrackEntry, ConntrackEvent, FlowTuple, RouteLookup } from './observations.ts';

/** How the kernel words routes that refuse. */
const meanings: Readonly<Record<string, string>> = {
  'Invalid argument': 'a blackhole route',
  'No route to host': 'an unreachable route',
  'Permission denied': 'a prohibit route or rule',
  'Network is unreachable': 'no route at all',
  'Invalid cross-device link': 'Invalid cross-device link: refused by the reverse path filter',
};

export function parseRouteGet(
  { exitCode, stdout, stderr }: { readonly exitCode: number; readonly stdout: string; readonly stderr: string },
  asked: Pick<RouteLookup, 'node' | 'pod' | 'destination' | 'source' | 'fromInterface'>,
): RouteLookup {
  const words = stderr.replace(/^RTNETLINK answers: /m, '').trim();
  if (exitCode !== 0) return { ...asked, error: meanings[words] ?? (words || `ip ended with ${exitCode}`) };
  let route: unknown;
  try {
    [route] = JSON.parse(stdout) as unknown[];
  } catch {
    return { ...asked, error: 'the answer of ip is no JSON' };
  }
  const { dev, gateway, type, via } = (route ?? {}) as {
    dev?: string;
    gateway?: string;
    type?: string;
    via?: { host?: string };
  };
  const hop = gateway ?? via?.host;
  return {
    ...asked,
    ...(dev === undefined ? {} : { device: dev }),
    ...(hop === undefined ? {} : { gateway: hop }),
    ...(type === undefined ? {} : { type }),
  };
}

/** Lines of `conntrack -L`: two tuples each, the second of the answers. */
export function parseConntrack(text: string, node: string): ConntrackEntry[] {
  return text.split('\n').flatMap((line) => entryOf(line, node) ?? []);
}

/** Lines of `conntrack -E -o timestamp`, whose clock is `correctionMs` behind this machine's. */
export function parseConntrackEvents(text: string, node: string, correctionMs: number): ConntrackEvent[] {
  return text.split('\n').flatMap((line): ConntrackEvent[] => {
    const [, seconds, event, rest = ''] = /^\[(\d+\.\d+)\]\s+\[(NEW|UPDATE|DESTROY)\]\s+(.*)$/.exec(line) ?? [];
    const entry = entryOf(rest, node);
    if (entry === undefined || seconds === undefined) return [];
    return [{ ...entry, event: event as ConntrackEvent['event'], seconds: Number(seconds) + correctionMs / 1000 }];
  });
}

function entryOf(line: string, node: string): ConntrackEntry | undefined {
  const [original, reply] = [...line.matchAll(/src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g)].map(
    ([, source = '', destination = '', sourcePort, destinationPort]): FlowTuple => ({
      source,
      sourcePort: Number(sourcePort),
      destination,
      destinationPort: Number(destinationPort),
    }),
  );
  if (original === undefined || reply === undefined) return undefined;
  const state = /^\S+\s+\d+\s+(?:\d+\s+)?([A-Z_]+)\s/.exec(line.replace(/^ipv[46]\s+\d+\s+/, ''))?.[1] ?? '';
  return { node, original, reply, state, unreplied: line.includes('[UNREPLIED]') };
}

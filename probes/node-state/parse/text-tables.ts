// SPDX-License-Identifier: Apache-2.0
/** The text formats of /proc and of tools without JSON: counters, listening sockets, sysctls, ipset, programs, the clock. */
import type { Gap, Ipset, Listener } from '../node-state.ts';

/** Of /proc/net/snmp and netstat (a line of names, a line of values) and snmp6 (a name and a value per line), in any order. */
export function parseCounters(text: string): Record<string, number> {
  const counters: Record<string, number> = {};
  let names: string[] = [];
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/);
    const [first = '', ...rest] = words;
    if (first.endsWith(':')) {
      const isValues = rest.every((word) => /^-?\d+$/.test(word));
      if (!isValues) names = words;
      else if (names[0] === first)
        for (const [index, value] of rest.entries())
          if (names[index + 1] !== undefined) counters[`${first.slice(0, -1)}.${names[index + 1]}`] = Number(value);
    } else if (words.length === 2 && /^\d+$/.test(rest[0] ?? '')) counters[first] = Number(rest[0]);
  }
  return counters;
}

/** Of /proc/net/sockstat: `TCP: inuse 5 orphan 0`. */
export function parseSockstat(text: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const [kind, rest = ''] = line.split(':');
    for (const [, name, value] of rest.matchAll(/(\S+) (\d+)/g)) found[`${kind}.${name}`] = Number(value);
  }
  return found;
}

/** Of `conntrack -S`: a line per CPU, summed. */
export function parseConntrackCounters(text: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [, name = '', value] of text.matchAll(/(\w+)=(\d+)/g))
    if (name !== 'cpu') found[name] = (found[name] ?? 0) + Number(value);
  return found;
}

/** Of `grep '' FILE...` below /proc/sys. */
export function parseSysctls(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, path = '', value = ''] of text.matchAll(/^\/proc\/sys\/([^:]+):(.*)$/gm)) found[path] = value.trim();
  return found;
}

/** Of `ss -Htulpn`. */
export function parseListeners(text: string): Listener[] {
  return text.split('\n').flatMap((line) => {
    const [protocol, , waiting, limit, local = ''] = line.trim().split(/\s+/);
    const where = /^(.*):(\d+)$/.exec(local);
    if ((protocol !== 'tcp' && protocol !== 'udp') || where === null) return [];
    const [address = '', device] = (where[1] ?? '').split('%');
    return [
      {
        protocol,
        address: address.replace(/^\[(.*)\]$/, '$1'),
        port: Number(where[2]),
        device: device?.replace(/\]$/, ''),
        waiting: Number(waiting),
        limit: Number(limit),
        program: /users:\(\("([^"]*)"/.exec(line)?.[1],
      },
    ];
  });
}

/** Of `ipset save`. */
export function parseIpsets(text: string): Ipset[] {
  const sets = new Map<string, { name: string; type: string; entries: string[] }>();
  for (const line of text.split('\n')) {
    const [verb, name = '', rest = ''] = line.split(' ');
    if (verb === 'create') sets.set(name, { name, type: rest, entries: [] });
    else if (verb === 'add') sets.get(name)?.entries.push(rest);
  }
  return [...sets.values()];
}

/** Of `head -c N /proc/PID/cmdline...`: names of programs, and of the script that an interpreter runs. Arguments are not kept. */
export function parsePrograms(text: string): string[] {
  const found = new Set<string>();
  for (const part of text.split(/^==> .* <==$/m)) {
    const [program, ...rest] = part.trim().split('\0');
    const name = baseName(program?.split(' ')[0]);
    if (name === '') continue;
    found.add(name);
    const script = /^(node|python|perl|sh|bash|tini|dumb-init)/.test(name)
      ? rest.find((word) => !word.startsWith('-'))
      : undefined;
    if (script !== undefined && /^[\w./-]+$/.test(script)) found.add(baseName(script));
  }
  return [...found].toSorted();
}

function baseName(path: string | undefined): string {
  return (path ?? '').trim().split('/').at(-1) ?? '';
}

/** Of busybox's adjtimex: when the node's clock was what, and whether the kernel believes that it is synchronised. */
export function parseAdjtimex(text: string): { ms: number; synchronised: boolean } | undefined {
  const seconds = /time\.tv_sec:\s*(\d+)/.exec(text)?.[1];
  const fraction = /time\.tv_usec:\s*(\d+)/.exec(text)?.[1];
  const status = /status:\s*(\d+)/.exec(text)?.[1];
  if (seconds === undefined || fraction === undefined || status === undefined) return undefined;
  // With STA_NANO the fraction is in nanoseconds, under the same name.
  const isNano = (Number(status) & 0x20_00) !== 0;
  return {
    ms: Number(seconds) * 1000 + Number(fraction) / (isNano ? 1e6 : 1e3),
    synchronised: (Number(status) & 0x40) === 0,
  };
}

/** What a program that could not do its work said, as a gap. */
export function gapOf(section: string, code: number, message: string): Gap {
  const isAbsent =
    code === 127 ||
    /not found|no such file|can't execute|does(?: not|n't) exist|unknown (option|device)/i.test(message);
  const reason = code === 143 || code === 124 ? 'took too long' : message.trim() || `ended with ${code}`;
  return { section, kind: isAbsent ? 'absent' : 'failed', reason: reason.slice(0, 300) };
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Reads a node's network state through a node probe, in one exec, and parses it. Nothing that a node lacks or refuses makes it fail: what
 * could not be read is in `gaps`. It fails only where the exec itself does.
 */
import { randomBytes } from 'node:crypto';
import { constants, gunzipSync } from 'node:zlib';
import type { CniFile, Family, Gap, NetworkNamespace, NodeState } from './node-state.ts';
import { parseFdb, parseLinks, parseNeighbours, parseRoutes, parseRules } from './parse/ip-json.ts';
import { parseIptablesSave, type IptablesRuleset } from './parse/iptables-save.ts';
import { parseNftRuleset } from './parse/nft-json.ts';
import {
  gapOf,
  parseAdjtimex,
  parseConntrackCounters,
  parseCounters,
  parseIpsets,
  parseListeners,
  parsePrograms,
  parseSockstat,
  parseSysctls,
} from './parse/text-tables.ts';
import { nodeScript, splitAnswer, type Section } from './script.ts';

const timeoutMs = 90_000;

export interface CollectOptions {
  /** Look into the network namespaces of pods as well. Default true. */
  readonly pods?: boolean;
}

/** Whatever runs programs on a node: a node probe, or a session in one. */
export interface NodeReader {
  readonly node: string;
  readonly exec: (
    command: readonly string[],
    options: { readonly timeoutMs: number },
  ) => Promise<{ readonly stdout: Buffer }>;
}

/** Errors: ProbeError where the exec failed. */
export async function collectNodeState(probe: NodeReader, options: CollectOptions = {}): Promise<NodeState> {
  const nonce = randomBytes(8).toString('hex');
  const began = Date.now();
  const { stdout } = await probe.exec(['/bin/sh', '-c', nodeScript({ nonce, pods: options.pods ?? true })], {
    timeoutMs,
  });
  return parseNodeState(inflate(stdout), { node: probe.node, nonce, began, ended: Date.now() });
}

/** A stream that was cut off gives what came before. */
function inflate(bytes: Buffer): string {
  try {
    return gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).toString('utf8');
  } catch {
    return bytes.toString('utf8');
  }
}

export interface AnswerOf {
  readonly node: string;
  readonly nonce: string;
  /** Reader's clock, milliseconds, before the exec and after. */
  readonly began: number;
  readonly ended: number;
}

/** Pure, and never throws: what cannot be parsed is a gap. */
export function parseNodeState(text: string, { node, nonce, began, ended }: AnswerOf): NodeState {
  const answer = splitAnswer(text, nonce);
  const gaps: Gap[] = [];
  const read = reader(answer.sections, '', gaps);
  const state: Omit<NodeState, 'gaps'> = {
    node,
    takenAt: ended,
    kernel: (read('kernel', (one) => one.trim()) ?? '').slice(0, 100),
    clock: clockOf(answer.sections, { began, ended }),
    links: read('links', parseLinks) ?? [],
    routes: bothFamilies((family) => read(`routes${family}`, (one) => parseRoutes(one, family))),
    rules: bothFamilies((family) => read(`rules${family}`, (one) => parseRules(one, family))),
    neighbours: bothFamilies((family) => [
      ...(read(`neighbours${family}`, (one) => parseNeighbours(one, family)) ?? []),
      ...(read(`proxied-neighbours${family}`, (one) => parseNeighbours(one, family)) ?? []),
    ]),
    fdb: read('fdb', parseFdb) ?? [],
    nft: read('nft', parseNftRuleset),
    iptables: iptablesOf(read, gaps),
    ipsets: read('ipset', parseIpsets) ?? [],
    sysctls: read('sysctls', parseSysctls) ?? {},
    conntrack: read('conntrack', parseConntrackCounters) ?? {},
    counters: read('counters', parseCounters) ?? {},
    sockets: read('sockets', parseSockstat) ?? {},
    listeners: read('listeners', parseListeners) ?? [],
    cni: read('cni', (one) => parseCniFiles(one, gaps)) ?? [],
    programs: read('programs', parsePrograms) ?? [],
    namespaces: answer.namespaces.map(({ pid, inode, sections }): NetworkNamespace => {
      const inPod = reader(sections, `namespace of process ${pid}: `, gaps);
      return {
        inode,
        pid,
        podUid: podUidOf(inPod('cgroup', (one) => one) ?? ''),
        links: inPod('links', parseLinks) ?? [],
        routes: bothFamilies((family) => inPod(`routes${family}`, (one) => parseRoutes(one, family))),
        neighbours: bothFamilies((family) => inPod(`neighbours${family}`, (one) => parseNeighbours(one, family))),
        listeners: inPod('listeners', parseListeners) ?? [],
        counters: inPod('counters', parseCounters) ?? {},
      };
    }),
  };
  return { ...state, gaps };
}

type Read = <T>(section: string, parse: (text: string) => T) => T | undefined;

function reader(sections: ReadonlyMap<string, Section>, prefix: string, gaps: Gap[]): Read {
  return (name, parse) => {
    const section = sections.get(name);
    if (section === undefined || section.code !== 0) {
      gaps.push(gapOf(`${prefix}${name}`, section?.code ?? -1, section?.message ?? 'the answer ended before it'));
      return undefined;
    }
    try {
      return parse(section.text);
    } catch (error) {
      const reason = `not understood: ${error instanceof Error ? error.message : String(error)}`;
      gaps.push({ section: `${prefix}${name}`, kind: 'failed', reason: reason.slice(0, 300) });
      return undefined;
    }
  };
}

function bothFamilies<T>(read: (family: Family) => readonly T[] | undefined): T[] {
  return ([4, 6] as const).flatMap((family) => read(family) ?? []);
}

function iptablesOf(read: Read, gaps: Gap[]): IptablesRuleset[] {
  const before = gaps.length;
  const rulesets = (['nft', 'legacy'] as const).flatMap((backend) =>
    bothFamilies((family) => {
      const found = read(`iptables-${backend}${family}`, (one) => parseIptablesSave(one, { backend, family }));
      return found === undefined ? [] : [found];
    }),
  );
  const version = read('iptables-version', (one) => one.trim());
  // A node without any iptables has one thing to say about it, not five.
  if (version === undefined && rulesets.length === 0) {
    const found = gaps.splice(before);
    gaps.push({ section: 'iptables', kind: 'absent', reason: found[0]?.reason ?? 'not installed' });
  }
  return rulesets;
}

function clockOf(
  sections: ReadonlyMap<string, Section>,
  { began, ended }: { readonly began: number; readonly ended: number },
): NodeState['clock'] {
  const first = parseAdjtimex(sections.get('clock-first')?.text ?? '');
  const last = parseAdjtimex(sections.get('clock-last')?.text ?? '');
  if (first === undefined || last === undefined) return undefined;
  return {
    offsetLeastMs: Math.round(last.ms - ended),
    offsetMostMs: Math.round(first.ms - began),
    synchronised: last.synchronised,
  };
}

function podUidOf(cgroup: string): string | undefined {
  const found = /pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})/.exec(cgroup)?.[1];
  return found?.replaceAll('_', '-');
}

function parseCniFiles(text: string, gaps: Gap[]): CniFile[] {
  const parts = text.split(/^==> (.*) <==$/m).slice(1);
  const files: CniFile[] = [];
  for (let index = 0; index + 1 < parts.length; index += 2) {
    const name = parts[index] ?? '';
    try {
      files.push({ name, config: withoutSecrets(JSON.parse(parts[index + 1] ?? '')) });
    } catch {
      files.push({ name, config: undefined });
      gaps.push({ section: 'cni', kind: 'failed', reason: `${name} in /etc/cni/net.d is no JSON` });
    }
  }
  return files;
}

function withoutSecrets(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (key, one: unknown) =>
    /token|password|secret|_key$|_cert$|credential/i.test(key) ? '(left out)' : one,
  );
}

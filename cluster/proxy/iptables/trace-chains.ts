// SPDX-License-Identifier: Apache-2.0
// Sends a virtual packet through iptables rules given as `iptables-save` prints them or `iptables-restore` reads them,
// the way the kernel would send a real one. No kernel, no root; and as it reads the text that goes to the kernel, it
// shares nothing with what planned the rules.

import { containsAddress, parsePrefix } from '../../network/addresses.ts';
import { words } from './iptables-rules.ts';
import type { Trace, VirtualPacket } from '../../network/nft/trace-packet.ts';

export interface ChainTraceOptions {
  readonly localAddresses: readonly string[];
  /** The packet is sent by a process of the node itself. */
  readonly fromNode?: boolean;
  /** What a random match draws, from 0 up to 1; default 0, so that every chance is taken. */
  readonly draw?: () => number;
  /** Sources that the match `recent` remembers, by list name. */
  readonly remembered?: Map<string, Set<string>>;
}

export type ChainTrace = Omit<Trace, 'by'> & {
  /** The rule that ended the packet's way. */
  readonly by: string | undefined;
};

export type ChainTables = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** Chains by table; a chain's rules without their `-A CHAIN`. Lines that change or delete are errors: give a whole state. */
export function parseChains(text: string): ChainTables {
  const tables = new Map<string, Map<string, string[]>>();
  let chains = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [verb = '', name = ''] = line.split(' ', 2);
    if (line.startsWith('*')) tables.set(line.slice(1), (chains = new Map()));
    else if (line.startsWith(':')) chains.set(verb.slice(1), []);
    else if (verb === '-A') {
      const rules = chains.get(name) ?? [];
      chains.set(name, rules);
      rules.push(line.slice(`-A ${name} `.length));
    } else if (verb.startsWith('-')) throw new Error(`"${line}" is not part of a whole state`);
  }
  return tables;
}

interface Walk {
  readonly tables: ChainTables;
  readonly options: ChainTraceOptions;
  packet: VirtualPacket;
  mark: number;
  masqueraded: boolean;
  end: Trace['end'] | undefined;
  by: string | undefined;
  readonly path: string[];
}

export function traceChains(tables: ChainTables, packet: VirtualPacket, options: ChainTraceOptions): ChainTrace {
  const walk: Walk = {
    tables,
    options,
    packet,
    mark: 0,
    masqueraded: false,
    end: undefined,
    by: undefined,
    path: [],
  };
  const isLocal = (): boolean => options.localAddresses.includes(walk.packet.destination);
  let end: Trace['end'] = 'forwarded';
  runHook(walk, options.fromNode === true ? 'OUTPUT' : 'PREROUTING');
  if (isLocal()) {
    end = 'delivered';
    runHook(walk, 'INPUT');
  } else {
    if (options.fromNode !== true) runHook(walk, 'FORWARD');
    runHook(walk, 'POSTROUTING');
  }
  const { masqueraded, path, by } = walk;
  return {
    end: walk.end ?? end,
    destination: walk.packet.destination,
    port: walk.packet.port,
    masqueraded,
    path,
    by,
  };
}

function runHook(walk: Walk, chain: string): void {
  for (const table of ['mangle', 'nat', 'filter']) {
    if (walk.end !== undefined) return;
    // Translation is decided by the first packet of a connection.
    if (table === 'nat' && (walk.packet.state ?? 'new') !== 'new') continue;
    runChain(walk, table, chain);
  }
}

/** True when the packet's way through this hook is decided. */
function runChain(walk: Walk, table: string, chain: string): boolean {
  const rules = walk.tables.get(table)?.get(chain);
  if (rules === undefined) {
    if (chain.startsWith('KUBE-')) throw new Error(`a rule of the table ${table} leads to the missing chain ${chain}`);
    return false;
  }
  walk.path.push(`${table}/${chain}`);
  for (const text of rules) {
    const rule = readRule(text);
    if (!rule.conditions.every((condition) => condition(walk))) continue;
    rule.effect?.(walk);
    switch (rule.target) {
      case undefined:
      case 'MARK':
        continue;
      case 'RETURN':
        return false;
      case 'ACCEPT':
      case 'DNAT':
        return true;
      case 'MASQUERADE':
        walk.masqueraded = true;
        return true;
      case 'DROP':
      case 'REJECT':
        walk.end = rule.target === 'DROP' ? 'dropped' : 'rejected';
        walk.by = `${table}/${chain} ${text}`;
        return true;
      default:
        if (runChain(walk, table, rule.target)) return true;
    }
  }
  return false;
}

interface ReadRule {
  readonly conditions: readonly ((walk: Walk) => boolean)[];
  readonly target: string | undefined;
  readonly effect: ((walk: Walk) => void) | undefined;
}

function readRule(text: string): ReadRule {
  const rest = words(text);
  const conditions: ((walk: Walk) => boolean)[] = [];
  let target: string | undefined;
  let effect: ((walk: Walk) => void) | undefined;
  let list = '';
  let not = false;
  const next = (): string => rest.shift() ?? '';
  const check = (condition: (walk: Walk) => boolean): void => {
    const wanted = !not;
    not = false;
    conditions.push((walk) => condition(walk) === wanted);
  };
  const local = (address: string, { options }: Walk): boolean =>
    options.localAddresses.includes(address) || address.startsWith('127.');
  for (let word = next(); word !== ''; word = next()) {
    switch (word) {
      case '!':
        not = true;
        break;
      case '-m':
      case '--comment':
      case '--mode':
      case '--seconds':
      case '--mask':
      case '--reject-with':
        next();
        break;
      case '--reap':
      case '--rsource':
      case '--random-fully':
        break;
      case '-s': {
        const prefix = parsePrefix(next());
        check(({ packet }) => containsAddress(prefix, packet.source));
        break;
      }
      case '-d': {
        const prefix = parsePrefix(next());
        check(({ packet }) => containsAddress(prefix, packet.destination));
        break;
      }
      case '-p': {
        const protocol = next();
        check(({ packet }) => packet.protocol === protocol);
        break;
      }
      case '--dport': {
        const port = Number(next());
        check(({ packet }) => packet.port === port);
        break;
      }
      case '--ctstate': {
        const states = next().toLowerCase().split(',');
        check(({ packet }) => states.includes(packet.state ?? 'new'));
        break;
      }
      case '--mark': {
        const [value, mask] = next().split('/').map(Number);
        check(({ mark }) => (mark & (mask ?? 0xffffffff)) === value);
        break;
      }
      case '--dst-type':
        next();
        check((walk) => local(walk.packet.destination, walk));
        break;
      case '--src-type':
        next();
        check((walk) => local(walk.packet.source, walk));
        break;
      case '--probability': {
        const probability = Number(next());
        check(({ options }) => (options.draw?.() ?? 0) < probability);
        break;
      }
      case '--name':
        list = next();
        break;
      case '--rcheck':
        check(({ packet, options }) => options.remembered?.get(list)?.has(packet.source) === true);
        break;
      case '--set':
        check(({ packet, options }) => {
          const known = options.remembered?.get(list) ?? new Set();
          options.remembered?.set(list, known.add(packet.source));
          return true;
        });
        break;
      case '-j':
        target = next();
        break;
      case '--to-destination': {
        const [, address = '', port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(next()) ?? [];
        effect = (walk) => (walk.packet = { ...walk.packet, destination: address, port: Number(port) });
        break;
      }
      case '--or-mark':
      case '--xor-mark':
      case '--set-xmark': {
        const [value = 0, mask = word === '--or-mark' ? value : 0] = next().split('/').map(Number);
        effect = (walk) => (walk.mark = (walk.mark & ~mask) ^ value);
        break;
      }
      default:
        throw new Error(`"${word}" of the rule "${text}" cannot be traced`);
    }
  }
  return { conditions, target, effect };
}

// SPDX-License-Identifier: Apache-2.0
// The `hosts` plugin: names and addresses of a table in the form of /etc/hosts, from the configuration and from a file
// that is read again when it changes.

import { readFileSync, statSync } from 'node:fs';

import { familyOf } from '../network/addresses.ts';
import { isWithinAny, plainName, reverseAddress } from './names.ts';
import { recordTypes } from './wire.ts';
import type { HostsConfig } from './corefile.ts';
import type { Query, Reply, ResourceRecord } from './wire.ts';

export interface HostTable {
  readonly config: HostsConfig;
  /** The table of now. */
  addresses(name: string): readonly string[];
  names(address: string): readonly string[];
  readonly size: number;
}

interface Tables {
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  readonly names: ReadonlyMap<string, readonly string[]>;
}

/** Looks at the file at most every `reloadMs`; a file that cannot be read leaves the last table in force. */
export function hostTable(config: HostsConfig, now: () => number = Date.now): HostTable {
  let tables = tablesOf(config, '');
  let lookedAt = -Infinity;
  let stamp = '';
  const current = (): Tables => {
    const { file, reloadMs } = config;
    if (file === undefined || now() - lookedAt < Math.max(reloadMs, 100)) return tables;
    if (reloadMs === 0 && stamp !== '') return tables;
    lookedAt = now();
    try {
      const { mtimeMs, size } = statSync(file);
      if (`${mtimeMs} ${size}` !== stamp) tables = tablesOf(config, readFileSync(file, 'utf8'));
      stamp = `${mtimeMs} ${size}`;
    } catch {
      stamp = '';
    }
    return tables;
  };
  return {
    config,
    addresses: (name) => current().addresses.get(name) ?? [],
    names: (address) => current().names.get(address) ?? [],
    get size() {
      return current().addresses.size;
    },
  };
}

/** undefined: the question is not for this table. */
export function answerHost(query: Query, table: HostTable): Reply | undefined {
  const { config } = table;
  const { name, type } = query;
  const address = reverseAddress(name);
  if (address !== undefined && config.reverse && type === recordTypes.PTR) {
    const targets = table.names(address);
    if (targets.length > 0) {
      return reply(targets.map((target) => ({ type: 'PTR', name, ttl: config.ttl, target })));
    }
  }
  if (!isWithinAny(name, config.zones)) return undefined;
  const addresses = table.addresses(name);
  if (addresses.length > 0) {
    const family = type === recordTypes.A ? 4 : type === recordTypes.AAAA ? 6 : undefined;
    const kind = family === 6 ? 'AAAA' : 'A';
    return reply(
      addresses
        .filter((one) => familyOf(one) === family)
        .map((one): ResourceRecord => ({ type: kind, name, ttl: config.ttl, address: one })),
    );
  }
  if (config.fallthrough !== undefined && isWithinAny(name, config.fallthrough)) return undefined;
  return { ...reply([]), rcode: 'NXDOMAIN' };
}

function reply(answers: readonly ResourceRecord[]): Reply {
  return {
    rcode: 'NOERROR',
    authoritative: true,
    recursionAvailable: true,
    answers,
    authority: [],
    additional: [],
  };
}

function tablesOf(config: HostsConfig, text: string): Tables {
  const addresses = new Map<string, string[]>([...config.entries].map(([name, list]) => [name, [...list]]));
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (familyOf(address) === undefined) continue;
    for (const name of names.map(plainName)) addresses.set(name, [...(addresses.get(name) ?? []), address]);
  }
  const names = new Map<string, string[]>();
  for (const [name, list] of addresses) {
    for (const address of list) names.set(address, [...(names.get(address) ?? []), name]);
  }
  return { addresses, names };
}

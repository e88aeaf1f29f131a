// SPDX-License-Identifier: Apache-2.0
/** The questions that a pod's resolver asks for a name, in its order, from its own resolv.conf and hosts file. Pure. */
import { isIP } from 'node:net';

export interface ResolverFiles {
  readonly resolvConf: string;
  readonly hosts: string;
}

export interface ResolverPlan {
  /** The address that /etc/hosts gives. */
  readonly fromHosts: string | undefined;
  readonly servers: readonly string[];
  /** Absolute names, in the order in which they are tried. */
  readonly candidates: readonly string[];
}

/** As glibc and musl do it: absolute first if the name has at least `ndots` dots, along the search list otherwise. */
export function resolverPlan(name: string, { resolvConf, hosts }: ResolverFiles): ResolverPlan {
  const servers: string[] = [];
  let search: string[] = [];
  let ndots = 1;
  for (const line of resolvConf.split('\n')) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === 'nameserver' && rest[0] !== undefined && isIP(rest[0]) !== 0) servers.push(rest[0]);
    else if (word === 'search' || word === 'domain') search = rest;
    else if (word === 'options')
      for (const option of rest) if (option.startsWith('ndots:')) ndots = Number(option.slice(6));
  }
  const absolute = name.endsWith('.') ? name : `${name}.`;
  const along = search.map((domain) => `${name}.${domain.replace(/\.$/, '')}.`);
  const candidates = name.endsWith('.')
    ? [absolute]
    : name.split('.').length - 1 >= ndots
      ? [absolute, ...along]
      : [...along, absolute];
  return { fromHosts: addressInHosts(name, hosts), servers: servers.slice(0, 3), candidates };
}

function addressInHosts(name: string, hosts: string): string | undefined {
  const wanted = name.replace(/\.$/, '').toLowerCase();
  for (const line of hosts.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (isIP(address) !== 0 && names.some((one) => one.toLowerCase() === wanted)) return address;
  }
  return undefined;
}

// SPDX-License-Identifier: Apache-2.0
/** What `ip -j` prints: links with addresses and counters, routes, rules, neighbours and the forwarding database. */
import type {
  Address,
  Family,
  FdbEntry,
  Link,
  LinkCounters,
  Neighbour,
  NextHop,
  Route,
  RoutingRule,
  Vxlan,
} from '../node-state.ts';
import { numberOf, objectOf, objectsOf, parseJsonList, textOf, textsOf, type JsonObject } from './json-fields.ts';

/** Of `ip -j -d -s address show`. Throws a SyntaxError where the text is no JSON. */
export function parseLinks(text: string): Link[] {
  const found = parseJsonList(text).filter((one) => textOf(one['ifname']) !== undefined);
  const names = new Map(found.map((one) => [textOf(one['ifname']), numberOf(one['ifindex'])]));
  return found.map((one) => {
    const info = objectOf(one['linkinfo']);
    const kind = textOf(info['info_kind']);
    const stats = objectOf(one['stats64'] ?? one['stats']);
    return {
      index: numberOf(one['ifindex']) ?? 0,
      name: textOf(one['ifname']) ?? '',
      mtu: numberOf(one['mtu']) ?? 0,
      flags: textsOf(one['flags']),
      state: textOf(one['operstate']) ?? 'UNKNOWN',
      type: textOf(one['link_type']) ?? '',
      mac: textOf(one['address']),
      master: textOf(one['master']),
      // The other end is a name where it lies in the same namespace.
      peerIndex: numberOf(one['link_index']) ?? names.get(textOf(one['link'])),
      peerNamespaceId: numberOf(one['link_netnsid']),
      kind,
      vxlan: kind === 'vxlan' ? vxlanOf(objectOf(info['info_data'])) : undefined,
      addresses: objectsOf(one['addr_info']).flatMap(addressOf),
      received: countersOf(objectOf(stats['rx'])),
      sent: countersOf(objectOf(stats['tx'])),
    };
  });
}

function vxlanOf(data: JsonObject): Vxlan {
  return {
    id: numberOf(data['id']) ?? 0,
    port: numberOf(data['port']) ?? 0,
    local: textOf(data['local']) ?? textOf(data['local6']),
    device: textOf(data['link']),
    learning: data['learning'] === true,
  };
}

function addressOf(one: JsonObject): Address[] {
  const address = textOf(one['local']);
  if (address === undefined) return [];
  const flags = ['tentative', 'dadfailed', 'deprecated', 'secondary', 'temporary', 'noprefixroute'];
  return [
    {
      family: one['family'] === 'inet6' ? 6 : 4,
      address,
      prefix: numberOf(one['prefixlen']) ?? 0,
      scope: textOf(one['scope']) ?? 'global',
      flags: flags.filter((flag) => one[flag] === true),
    },
  ];
}

function countersOf(stats: JsonObject): LinkCounters {
  return {
    bytes: numberOf(stats['bytes']) ?? 0,
    packets: numberOf(stats['packets']) ?? 0,
    errors: numberOf(stats['errors']) ?? 0,
    dropped: numberOf(stats['dropped']) ?? 0,
  };
}

/** Of `ip -j -d -4|-6 route show table all`. */
export function parseRoutes(text: string, family: Family): Route[] {
  return parseJsonList(text).flatMap((one) => {
    const destination = textOf(one['dst']);
    if (destination === undefined) return [];
    const hops = objectsOf(one['nexthops']);
    const single = nextHopOf(one);
    const isSingle = single.device !== undefined || single.gateway !== undefined;
    return [
      {
        family,
        type: textOf(one['type']) ?? 'unicast',
        destination: withPrefix(destination, family),
        table: String(one['table'] ?? 'main'),
        protocol: String(one['protocol'] ?? ''),
        scope: textOf(one['scope']),
        metric: numberOf(one['metric']) ?? 0,
        source: textOf(one['prefsrc']),
        mtu: mtuOf(one),
        nextHops: hops.length > 0 ? hops.map(nextHopOf) : isSingle ? [single] : [],
      },
    ];
  });
}

function nextHopOf(one: JsonObject): NextHop {
  const via = objectOf(one['via']);
  return {
    gateway: textOf(one['gateway']) ?? textOf(via['host']),
    device: textOf(one['dev']),
    flags: textsOf(one['flags']),
  };
}

function mtuOf(route: JsonObject): number | undefined {
  return objectsOf(route['metrics'])
    .map((metric) => numberOf(metric['mtu']))
    .find((mtu) => mtu !== undefined);
}

function withPrefix(destination: string, family: Family): string {
  if (destination === 'default') return family === 4 ? '0.0.0.0/0' : '::/0';
  return destination.includes('/') ? destination : `${destination}/${family === 4 ? 32 : 128}`;
}

/** Of `ip -j -4|-6 rule show`. */
export function parseRules(text: string, family: Family): RoutingRule[] {
  return parseJsonList(text).map((one) => {
    const mark = Number(one['fwmark']);
    return {
      family,
      priority: numberOf(one['priority']) ?? 0,
      from: selectorOf(one, 'src', family),
      to: selectorOf(one, 'dst', family),
      inDevice: textOf(one['iif']),
      outDevice: textOf(one['oif']),
      mark: Number.isInteger(mark) ? { value: mark, mask: Number(one['fwmask'] ?? 0xff_ff_ff_ff) } : undefined,
      not: 'not' in one,
      table: textOf(one['table']),
      action: textOf(one['action']),
    };
  });
}

function selectorOf(rule: JsonObject, field: 'src' | 'dst', family: Family): string | undefined {
  const address = textOf(rule[field]);
  if (address === undefined || address === 'all') return undefined;
  return `${address}/${numberOf(rule[`${field}len`]) ?? (family === 4 ? 32 : 128)}`;
}

/** Of `ip -j -4|-6 neigh show nud all`. */
export function parseNeighbours(text: string, family: Family): Neighbour[] {
  return parseJsonList(text).flatMap((one) => {
    const address = textOf(one['dst']);
    const device = textOf(one['dev']);
    if (address === undefined || device === undefined) return [];
    return [
      {
        family,
        address,
        device,
        mac: textOf(one['lladdr']),
        states: textsOf(one['state']),
        proxy: 'proxy' in one,
      },
    ];
  });
}

/** Of `ip -j -B neigh show`: the same as `bridge fdb`, which the probe image has no program for. */
export function parseFdb(text: string): FdbEntry[] {
  return parseJsonList(text).flatMap((one) => {
    const mac = textOf(one['lladdr']);
    const device = textOf(one['dev']);
    if (mac === undefined || device === undefined) return [];
    return [{ mac, device, remote: textOf(one['dst']), states: textsOf(one['state']) }];
  });
}

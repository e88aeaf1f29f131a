// SPDX-License-Identifier: Apache-2.0
/** Label selectors and CIDR blocks by the letter of the API reference; on purpose not the matcher of any other part of the project. */
import { BlockList, isIP, isIPv4 } from 'node:net';
import type { V1IPBlock, V1LabelSelector } from '@kubernetes/client-node';

/** An empty selector selects everything. */
export function selectorMatches(selector: V1LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  const has = (key: string): boolean => Object.hasOwn(labels, key);
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) {
    if (!has(key) || labels[key] !== value) return false;
  }
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const listed = has(key) && (values ?? []).includes(labels[key] ?? '');
    const holds =
      operator === 'In'
        ? listed
        : operator === 'NotIn'
          ? !listed
          : operator === 'Exists'
            ? has(key)
            : operator === 'DoesNotExist'
              ? !has(key)
              : undefined;
    if (holds === undefined) throw new RangeError(`matchExpressions: unknown operator ${operator} for key ${key}`);
    if (!holds) return false;
  }
  return true;
}

/** 0 for what is no address. */
export function familyOf(address: string): 0 | 4 | 6 {
  return isIP(address) as 0 | 4 | 6;
}

/** However IPv6 is written. */
export function sameAddress(one: string, other: string): boolean {
  const family = familyOf(one);
  return family !== 0 && contains(`${one}/${family === 4 ? 32 : 128}`, other);
}

export function blockContains(block: V1IPBlock, address: string): boolean {
  return contains(block.cidr, address) && !(block.except ?? []).some((cidr) => contains(cidr, address));
}

function contains(cidr: string, address: string): boolean {
  const [network = '', prefix = ''] = cidr.split('/');
  if (isIP(network) === 0 || isIP(network) !== isIP(address)) return false;
  const family = isIPv4(network) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(network, Number(prefix), family);
  return list.check(address, family);
}

// SPDX-License-Identifier: Apache-2.0
// Rules of addresses and networks.
import { BlockList, isIP, isIPv4 } from 'node:net';
import type { FieldError } from '../definition.ts';
import { invalid } from './fields.ts';

export function validateCidr(cidr: string, field: string): FieldError[] {
  return isCidr(cidr) ? [] : [invalid(field, cidr, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')];
}

export function isCidr(cidr: string): boolean {
  const [base = '', bits = '', ...rest] = cidr.split('/');
  return rest.length === 0 && isIP(base) !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (isIPv4(base) ? 32 : 128);
}

/** Whether `inner` is inside `outer` and smaller. Both are valid CIDRs. */
export function isStrictSubset(inner: string, outer: string): boolean {
  const [innerBase = '', innerBits = ''] = inner.split('/');
  const [outerBase = '', outerBits = ''] = outer.split('/');
  const family = isIPv4(outerBase) ? 'ipv4' : 'ipv6';
  if (isIP(innerBase) !== isIP(outerBase) || Number(innerBits) <= Number(outerBits)) {
    return false;
  }
  const block = new BlockList();
  block.addSubnet(outerBase, Number(outerBits), family);
  return block.check(innerBase, family);
}

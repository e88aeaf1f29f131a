// SPDX-License-Identifier: Apache-2.0
// Comparison and hashing of API objects by their JSON, independent of the order of keys.

/** JSON with sorted keys; `undefined` members are left out, as on the wire. */
export function canonicalJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, member: unknown) =>
      typeof member === 'object' && member !== null && !Array.isArray(member)
        ? Object.fromEntries(Object.entries(member).toSorted(([a], [b]) => (a < b ? -1 : 1)))
        : member,
    ) ?? 'null'
  );
}

export function sameJson(a: unknown, b: unknown): boolean {
  return canonicalJson(a) === canonicalJson(b);
}

/**
 * A short hash for names and labels, in letters and digits that spell no words. `collisions` changes it, for the case
 * that a name made with it belongs to something else.
 */
export function shortHash(value: unknown, collisions = 0): string {
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  const text = canonicalJson(value) + (collisions > 0 ? `#${collisions}` : '');
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193) >>> 0;
  }
  return [...String(hash)].map((digit) => alphabet[digit.charCodeAt(0) % alphabet.length]).join('');
}

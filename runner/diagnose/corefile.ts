// SPDX-License-Identifier: Apache-2.0
/** Which domains the configuration of CoreDNS hands to servers of their own. Pure. */

/** Zones other than the root that are forwarded, in the order of the file; reverse zones are left out. */
export function forwardedZones(corefile: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let zones: string[] = [];
  for (const line of corefile.split('\n')) {
    const words = line.replace(/#.*/, '').trim().split(/\s+/);
    const opens = words.at(-1) === '{';
    if (depth === 0 && opens) zones = words.slice(0, -1).map(zoneOf);
    if (depth === 1 && words[0] === 'forward' && words.length > 2)
      found.push(...(words[1] === '.' ? zones : [zoneOf(words[1] ?? '')]));
    if (opens) depth++;
    if (words[0] === '}') depth--;
  }
  return [...new Set(found)].filter((zone) => zone !== '' && !zone.endsWith('.arpa'));
}

/** `dns://corp.example:53` is `corp.example`, and the root is the empty text. */
function zoneOf(word: string): string {
  return word
    .replace(/^\w+:\/\//, '')
    .replace(/:\d+,?$|,$/, '')
    .replace(/\.$/, '');
}

// SPDX-License-Identifier: Apache-2.0
// autopath: walks a client's search list in its place. Pure.

/** The search list of a pod of `namespace`, and the name as it stands. */
export function podSearchList(namespace: string, domain: string, host: readonly string[]): string[] {
  return [`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...host, ''];
}

/**
 * The names to try, in order, when `name` is the first try of a client with that list; undefined when it is not. The
 * first of them is `name` itself.
 */
export function searchCandidates(name: string, searchList: readonly string[]): string[] | undefined {
  const [first] = searchList;
  if (first === undefined || first === '' || !name.endsWith(`.${first}`)) return undefined;
  const base = name.slice(0, name.length - first.length - 1);
  return searchList.map((domain) => (domain === '' ? base : `${base}.${domain}`)).filter((one) => one.length <= 253);
}

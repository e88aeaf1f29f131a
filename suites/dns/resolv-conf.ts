// SPDX-License-Identifier: Apache-2.0
// What a resolv.conf says, apart from how it is written down.

export interface ResolvConf {
  /** In the order in which they are asked. */
  readonly nameservers: readonly string[];
  /** In the order in which they are tried; the last line that names any counts. */
  readonly searches: readonly string[];
  /** Sorted: their order means nothing, and kubelets write them in any. */
  readonly options: readonly string[];
  /** Lines of other kinds, as they stand. */
  readonly others: readonly string[];
}

export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  const options: string[] = [];
  const others: string[] = [];
  let searches: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword = '', ...values] = line.split(/\s+/).filter((word) => word !== '');
    if (keyword === '' || /^[#;]/.test(keyword)) continue;
    if (keyword === 'nameserver') nameservers.push(...values);
    else if (keyword === 'search') searches = values;
    else if (keyword === 'options') options.push(...values);
    else others.push(line);
  }
  return { nameservers, searches, options: options.toSorted(), others };
}

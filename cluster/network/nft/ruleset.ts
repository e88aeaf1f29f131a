// SPDX-License-Identifier: Apache-2.0
// An nftables table as a value: what planners return, what `transaction.ts` turns into commands and what
// `trace-packet.ts` walks with virtual packets. Only what Services and policies need is expressible, so that
// every rule that can be written can also be traced.

export type Family = 'ip' | 'ip6' | 'inet';

/** One table. Its owner writes all of it: nothing else in the kernel's tables is ever touched. */
export interface Table {
  readonly family: Family;
  readonly name: string;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, ElementSet>;
  /** Named counters that rules refer to, with what they count. They outlive changes of the rules. */
  readonly counters?: ReadonlyMap<string, string>;
}

export interface Chain {
  /** Base chains only. The policy is always accept: a drop is a rule, so that it has a counter and a comment. */
  readonly hook?: Hook;
  readonly rules: readonly Rule[];
}

export type HookPoint = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

export interface Hook {
  readonly type: 'filter' | 'nat';
  readonly at: HookPoint;
  readonly priority: number;
}

/** A named set or map; keys, and `endpoint` values, are field values joined by ` . `. */
export interface ElementSet {
  readonly key: readonly KeyType[];
  /** What a map leads to: a verdict, or address and port to translate to. A plain set has none. */
  readonly value?: 'verdict' | 'endpoint';
  /** The kernel fills the set from packets; each element lives this long. Its elements are not ours to plan. */
  readonly rememberSeconds?: number;
  /** Values by key; empty texts in a set. */
  readonly elements: ReadonlyMap<string, string>;
  /** What an element belongs to, for people who read the rules; by key. */
  readonly comments?: ReadonlyMap<string, string>;
}

export type KeyType = 'ipv4_addr' | 'ipv6_addr' | 'inet_proto' | 'inet_service';

export type Verdict = 'accept' | 'drop' | 'return' | `jump ${string}` | `goto ${string}`;

/** All matches must hold; then the statements run in order. `comment` is cut to what the kernel keeps. */
export interface Rule {
  readonly match: readonly Match[];
  readonly action: readonly Statement[];
  readonly comment?: string;
}

/** `fields` as nft spells them (`ip saddr`), joined by ` . `; `among` are values, ranges, prefixes, or one `@set`. */
export interface Match {
  readonly fields: string;
  readonly among: readonly string[];
  readonly not?: true;
}

export type Statement =
  /** Without a name the counter is the rule's own. */
  | { readonly do: 'counter'; readonly name?: string }
  | { readonly do: 'verdict'; readonly verdict: Verdict }
  | { readonly do: 'lookup'; readonly fields: string; readonly map: string }
  | { readonly do: 'pick'; readonly chains: readonly string[] }
  | { readonly do: 'dnat'; readonly to: Endpoint }
  /** Translates to one of several at random. */
  | { readonly do: 'dnat-pick'; readonly to: readonly Endpoint[] }
  /** Translates to what a map of endpoints has for the packet; goes on where it has nothing. */
  | { readonly do: 'dnat-lookup'; readonly fields: string; readonly map: string }
  | { readonly do: 'masquerade' }
  | { readonly do: 'mark'; readonly bit: number; readonly set: boolean }
  | { readonly do: 'reject'; readonly by: 'tcp-reset' | 'port-unreachable' }
  | { readonly do: 'remember'; readonly fields: string; readonly set: string };

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export const counter: Statement = { do: 'counter' };

/** Counts with a counter of the table. */
export function counted(name: string): Statement {
  return { do: 'counter', name };
}

export function when(fields: string, ...among: string[]): Match {
  return { fields, among };
}

export function unless(fields: string, ...among: string[]): Match {
  return { fields, among, not: true };
}

export function verdict(value: Verdict): Statement {
  return { do: 'verdict', verdict: value };
}

/** Longest comment the kernel stores with a rule, in bytes. */
const longestComment = 127;

/** The rule in nft's syntax, for `add rule FAMILY TABLE CHAIN ...`. `family` decides the wording of rejects. */
export function renderRule(rule: Rule, family: Family): string {
  const parts = [...rule.match.map(renderMatch), ...rule.action.map((statement) => renderStatement(statement, family))];
  if (rule.comment !== undefined) parts.push(renderComment(rule.comment));
  return parts.join(' ');
}

function renderMatch({ fields, among, not }: Match): string {
  const [only] = among;
  const right = among.length === 1 && only !== undefined ? only : `{ ${among.join(', ')} }`;
  // Bit tests ("meta mark & 0x4000") and flags of conntrack read naturally only with an explicit operator.
  const operator = not ? '!= ' : fields.includes('&') ? '== ' : '';
  return `${fields} ${operator}${right}`;
}

function renderStatement(statement: Statement, family: Family): string {
  switch (statement.do) {
    case 'counter':
      return statement.name === undefined ? 'counter' : `counter name ${statement.name}`;
    case 'verdict':
      return statement.verdict;
    case 'lookup':
      return `${statement.fields} vmap @${statement.map}`;
    case 'pick': {
      const targets = statement.chains.map((chain, index) => `${index} : goto ${chain}`);
      return `numgen random mod ${targets.length} vmap { ${targets.join(', ')} }`;
    }
    case 'dnat':
      return `dnat to ${family === 'ip6' ? `[${statement.to.address}]` : statement.to.address}:${statement.to.port}`;
    case 'dnat-pick': {
      const targets = statement.to.map((endpoint, index) => `${index} : ${renderEndpoint(endpoint)}`);
      return `dnat to numgen random mod ${targets.length} map { ${targets.join(', ')} }`;
    }
    case 'dnat-lookup':
      return `dnat to ${statement.fields} map @${statement.map}`;
    case 'masquerade':
      return 'masquerade fully-random';
    case 'mark':
      return statement.set
        ? `meta mark set meta mark | 0x${statement.bit.toString(16)}`
        : `meta mark set meta mark & 0x${(~statement.bit >>> 0).toString(16)}`;
    case 'reject':
      if (statement.by === 'tcp-reset') return 'reject with tcp reset';
      return family === 'inet'
        ? 'reject with icmpx type port-unreachable'
        : `reject with ${family === 'ip' ? 'icmp' : 'icmpv6'} port-unreachable`;
    case 'remember':
      return `update @${statement.set} { ${statement.fields} }`;
  }
}

/** An endpoint as the value of a map's element. */
export function renderEndpoint({ address, port }: Endpoint): string {
  return `${address} . ${port}`;
}

export function renderComment(comment: string): string {
  return `comment "${cutComment(comment)}"`;
}

function cutComment(comment: string): string {
  const clean = comment.replaceAll(/["\\\n]/g, "'");
  if (Buffer.byteLength(clean) <= longestComment) return clean;
  return `${Buffer.from(clean)
    .subarray(0, longestComment - 3)
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e]/g, '?')}...`;
}

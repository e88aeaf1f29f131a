// SPDX-License-Identifier: Apache-2.0
/** The text of iptables-save and ip6tables-save as data. Rules keep their options in order; a line that is none is left out and counted. */
import type { Family } from '../node-state.ts';

export interface IptablesRuleset {
  readonly backend: 'nft' | 'legacy';
  readonly family: Family;
  readonly tables: readonly IptablesTable[];
  /** Lines that were not understood. */
  readonly strangeLines: number;
}

export interface IptablesTable {
  readonly name: string;
  readonly chains: readonly IptablesChain[];
}

export interface IptablesChain {
  readonly name: string;
  /** Of a built-in chain. */
  readonly policy: 'ACCEPT' | 'DROP' | undefined;
  readonly rules: readonly IptablesRule[];
}

export interface IptablesRule {
  /** The line as printed, without `-A CHAIN`. */
  readonly text: string;
  /** In order, the modules of `-m` left out: `-d`, `--dport`, `--comment`, ... with their words. */
  readonly options: readonly IptablesOption[];
  /** Of `-j` or `-g`; undefined where the rule only counts. */
  readonly target: string | undefined;
  readonly isGoto: boolean;
  readonly comment: string | undefined;
  /** Packets that met the rule, where the dump has counters. */
  readonly packets: number | undefined;
}

export interface IptablesOption {
  readonly name: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

export function parseIptablesSave(text: string, of: Pick<IptablesRuleset, 'backend' | 'family'>): IptablesRuleset {
  const tables: { name: string; chains: Map<string, { policy: IptablesChain['policy']; rules: IptablesRule[] }> }[] =
    [];
  let strangeLines = 0;
  for (const line of text.split('\n')) {
    const table = tables.at(-1);
    if (line === '' || line.startsWith('#') || line === 'COMMIT') continue;
    if (line.startsWith('*')) {
      tables.push({ name: line.slice(1).trim(), chains: new Map() });
      continue;
    }
    const chain = /^:(\S+) (\S+)/.exec(line);
    if (chain !== null && table !== undefined) {
      const policy = chain[2] === 'ACCEPT' || chain[2] === 'DROP' ? chain[2] : undefined;
      table.chains.set(chain[1] ?? '', { policy, rules: [] });
      continue;
    }
    const rule = /^(?:\[(\d+):\d+\] )?-A (\S+)(?: (.*))?$/.exec(line);
    const target = table?.chains.get(rule?.[2] ?? '');
    if (rule === null || target === undefined) strangeLines++;
    else target.rules.push(parseRule(rule[3] ?? '', rule[1]));
  }
  return {
    ...of,
    strangeLines,
    tables: tables.map(({ name, chains }) => ({
      name,
      chains: [...chains].map(([chainName, chain]) => ({ name: chainName, ...chain })),
    })),
  };
}

function parseRule(text: string, packets: string | undefined): IptablesRule {
  const words = splitWords(text);
  const options: { name: string; negated: boolean; values: string[] }[] = [];
  let isNegated = false;
  for (const word of words) {
    if (word.text === '!' && !word.quoted) isNegated = true;
    else if (word.text.startsWith('-') && word.text.length > 1 && !word.quoted && !/^-\d/.test(word.text)) {
      options.push({ name: word.text, negated: isNegated, values: [] });
      isNegated = false;
    } else options.at(-1)?.values.push(word.text);
  }
  const jump = options.find(({ name }) => name === '-j' || name === '-g');
  return {
    text,
    options: options.filter(({ name }) => name !== '-m' && name !== '-j' && name !== '-g'),
    target: jump?.values[0],
    isGoto: jump?.name === '-g',
    comment: options.find(({ name }) => name === '--comment')?.values.join(' '),
    packets: packets === undefined ? undefined : Number(packets),
  };
}

function splitWords(text: string): { text: string; quoted: boolean }[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, bare]) =>
    quoted === undefined
      ? { text: bare ?? '', quoted: false }
      : { text: quoted.replaceAll(/\\(.)/g, '$1'), quoted: true },
  );
}

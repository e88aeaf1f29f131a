// SPDX-License-Identifier: Apache-2.0
// Names asked for as others: the rules of `rewrite name`, and the way back for the names in the answer. Pure.

import type { RewriteRule } from './corefile.ts';
import type { ResourceRecord } from './wire.ts';

export interface Rewritten {
  readonly name: string;
  /** The name of an answer's record as the asker is to see it. */
  readonly back: (name: string) => string;
}

/** What to ask for instead of `name`; undefined when no rule fits. */
export function rewriteName(name: string, rules: readonly RewriteRule[]): Rewritten | undefined {
  let current = name;
  const backs: ((name: string) => string)[] = [];
  for (const rule of rules) {
    const rewritten = apply(rule, current);
    if (rewritten === undefined) continue;
    const [before, after] = [current, rewritten];
    backs.unshift((record) => turnBack(record, rule, { before, after }));
    current = rewritten;
    if (!rule.goOn) break;
  }
  if (backs.length === 0) return undefined;
  return { name: current, back: (record) => backs.reduce((so, back) => back(so), record) };
}

/** Records with their owner names, and the targets of aliases, turned back. */
export function turnedBack(records: readonly ResourceRecord[], back: (name: string) => string): ResourceRecord[] {
  return records.map((record) => {
    const name = back(record.name.toLowerCase());
    return record.type === 'CNAME'
      ? { ...record, name, target: back(record.target.toLowerCase()) }
      : { ...record, name };
  });
}

/** Rules speak of names with or without the final dot; both mean the same. */
function apply({ match, from, to }: RewriteRule, name: string): string | undefined {
  const plain = from.replace(/\.$/, '');
  switch (match) {
    case 'exact':
      return name === plain ? undotted(to) : undefined;
    case 'prefix':
      return name.startsWith(from) ? undotted(to + name.slice(from.length)) : undefined;
    case 'suffix':
      return name.endsWith(plain) ? undotted(name.slice(0, name.length - plain.length) + to) : undefined;
    case 'substring':
      return name.includes(from) ? undotted(name.replaceAll(from, to)) : undefined;
    case 'regex':
      return byExpression(name, from, to);
  }
}

function turnBack(record: string, rule: RewriteRule, names: { before: string; after: string }): string {
  const { answer } = rule;
  if (answer === 'none') return record;
  if (answer === 'auto') {
    if (record === names.after) return names.before;
    const from = rule.from.replace(/\.$/, '');
    const to = rule.to.replace(/\.$/, '');
    if (rule.match === 'suffix' && record.endsWith(to)) return record.slice(0, record.length - to.length) + from;
    if (rule.match === 'prefix' && record.startsWith(to)) return from + record.slice(to.length);
    return record;
  }
  return byExpression(record, answer.from, answer.to) ?? record;
}

const expressions = new Map<string, RegExp>();

/** `{1}` in `to` is the first group. The expression sees names with and without the final dot. */
function byExpression(name: string, from: string, to: string): string | undefined {
  let expression = expressions.get(from);
  if (expression === undefined) expressions.set(from, (expression = new RegExp(from, 'i')));
  const match = expression.exec(name) ?? expression.exec(`${name}.`);
  if (match === null) return undefined;
  return undotted(to.replaceAll(/\{(\d+)\}/g, (_, group) => match[Number(group)] ?? '')).toLowerCase();
}

function undotted(name: string): string {
  return name.replace(/\.$/, '');
}

// SPDX-License-Identifier: Apache-2.0
// Label and field selectors: the text form of the API's query parameters, the object form of specs, and matching.
import type { LabelSelector } from './api-types.ts';

export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  readonly values: readonly string[];
}

export interface FieldRequirement {
  readonly field: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

type Labels = Readonly<Record<string, string>> | undefined;

const labelName =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/**
 * Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`; the empty text selects everything.
 * Errors name the text and what is wrong with it.
 */
export function parseLabelSelector(text: string): Requirement[] {
  const tokens = tokenize(text);
  const requirements: Requirement[] = [];
  let position = 0;
  const peek = (): string | undefined => tokens[position];
  const fail = (expected: string): Error =>
    new Error(`unable to parse requirement: "${text}": found "${peek() ?? ''}", expected: ${expected}`);
  const word = (what: string): string => {
    const token = tokens[position];
    if (token === undefined || isSymbol(token)) throw fail(what);
    position++;
    return token;
  };
  const values = (): string[] => {
    if (peek() !== '(') throw fail("'('");
    position++;
    const found: string[] = [];
    for (;;) {
      const token = peek();
      if (token === ',' || token === ')') found.push('');
      else found.push(word("',', ')' or identifier"));
      const separator = peek();
      if (separator !== ',' && separator !== ')') throw fail("',' or ')'");
      position++;
      if (separator === ')') return found;
    }
  };
  while (position < tokens.length) {
    if (peek() === '!') {
      position++;
      requirements.push(requirement(text, word('identifier'), 'DoesNotExist', []));
    } else {
      const key = word("'!' or identifier");
      const operator = peek();
      if (operator === undefined || operator === ',') requirements.push(requirement(text, key, 'Exists', []));
      else {
        position++;
        if (operator === 'in') requirements.push(requirement(text, key, 'In', values()));
        else if (operator === 'notin') requirements.push(requirement(text, key, 'NotIn', values()));
        else {
          const kind = comparison(operator);
          if (!kind) {
            position--;
            throw fail("'in', 'notin', '=', '==', '!=', '>', '<' or ','");
          }
          const next = peek();
          const value = next === undefined || next === ',' ? '' : word('identifier');
          requirements.push(requirement(text, key, kind, [value]));
        }
      }
    }
    if (position < tokens.length) {
      if (peek() !== ',') throw fail("',' or end of text");
      position++;
      if (position === tokens.length) throw fail('identifier after ","');
    }
  }
  return requirements;
}

/** Whether labels fulfil all requirements; none selects everything. */
export function matchesLabels(requirements: readonly Requirement[], labels: Labels): boolean {
  return requirements.every((one) => fulfils(one.operator, one.values, own(labels, one.key)));
}

/** Matches a spec's selector: `undefined` selects nothing, an empty one everything, as the API defines it. */
export function matchesLabelSelector(selector: LabelSelector | undefined, labels: Labels): boolean {
  if (!selector) return false;
  for (const key in selector.matchLabels) if (own(labels, key) !== selector.matchLabels[key]) return false;
  return (selector.matchExpressions ?? []).every((one) =>
    fulfils(one.operator, one.values ?? [], own(labels, one.key)),
  );
}

/** Text form of a spec's selector, as `status.selector` and the query parameter take it. */
export function formatLabelSelector(selector: LabelSelector | undefined): string {
  const equalities = Object.entries(selector?.matchLabels ?? {}).map(
    ([key, value]) => [key, `${key}=${value}`] as const,
  );
  const expressions = (selector?.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
    const set = `(${values.toSorted().join(',')})`;
    switch (operator) {
      case 'In':
        return [key, `${key} in ${set}`] as const;
      case 'NotIn':
        return [key, `${key} notin ${set}`] as const;
      case 'DoesNotExist':
        return [key, `!${key}`] as const;
      default:
        return [key, key] as const;
    }
  });
  return [...equalities, ...expressions]
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, text]) => text)
    .join(',');
}

/** True for a selector without any requirement. */
export function isEmptySelector(selector: LabelSelector | undefined): boolean {
  return Object.keys(selector?.matchLabels ?? {}).length === 0 && (selector?.matchExpressions ?? []).length === 0;
}

/** Parses `metadata.name=a,status.phase!=Running`; `\,` `\=` and `\\` stand for themselves in values. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  if (text === '') return [];
  return splitUnescaped(text).map((term) => {
    const match = /^((?:[^=!\\]|\\.)*?)(!=|==|=)((?:[^=\\]|\\.)*)$/s.exec(term);
    if (!match?.[1]) throw new Error(`invalid selector: '${text}'; can't understand '${term}'`);
    const value = (match[3] ?? '').replaceAll(/\\(.)/gs, (_, escaped: string) => {
      if (!'\\,='.includes(escaped)) throw new Error(`invalid field selector: invalid escape sequence: \\${escaped}`);
      return escaped;
    });
    return { field: match[1], operator: match[2] === '!=' ? '!=' : '=', value };
  });
}

/** Whether an object's selectable fields fulfil all requirements; an absent field counts as empty. */
export function matchesFields(
  requirements: readonly FieldRequirement[],
  fields: Readonly<Record<string, string>>,
): boolean {
  return requirements.every(({ field, operator, value }) => ((fields[field] ?? '') === value) === (operator === '='));
}

/** The rules for a label's key; shared with validation. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  return labelName.test(key) && slash <= 253 && key.length - slash - 1 <= 63;
}

export function isLabelValue(value: string): boolean {
  return value.length <= 63 && labelValue.test(value);
}

function fulfils(operator: string, values: readonly string[], actual: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return actual !== undefined && values.includes(actual);
    case 'NotIn':
      return actual === undefined || !values.includes(actual);
    case 'Exists':
      return actual !== undefined;
    case 'DoesNotExist':
      return actual === undefined;
    case 'Gt':
    case 'Lt': {
      const bound = values[0] ?? '';
      if (actual === undefined || !isInteger(actual) || !isInteger(bound)) return false;
      return operator === 'Gt' ? BigInt(actual) > BigInt(bound) : BigInt(actual) < BigInt(bound);
    }
    default:
      return false;
  }
}

function own(labels: Labels, key: string): string | undefined {
  return labels && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function isInteger(text: string): boolean {
  return /^-?\d+$/.test(text);
}

function comparison(operator: string): Requirement['operator'] | undefined {
  switch (operator) {
    case '=':
    case '==':
      return 'In';
    case '!=':
      return 'NotIn';
    case '>':
      return 'Gt';
    case '<':
      return 'Lt';
    default:
      return undefined;
  }
}

function requirement(
  text: string,
  key: string,
  operator: Requirement['operator'],
  values: readonly string[],
): Requirement {
  if (!isLabelKey(key)) throw new Error(`unable to parse requirement: "${text}": "${key}" is not a label key`);
  for (const value of values) {
    if (!isLabelValue(value))
      throw new Error(`unable to parse requirement: "${text}": "${value}" is not a label value`);
    if ((operator === 'Gt' || operator === 'Lt') && !isInteger(value)) {
      throw new Error(`unable to parse requirement: "${text}": "${value}" is not an integer, which > and < need`);
    }
  }
  return { key, operator, values };
}

function isSymbol(token: string): boolean {
  return /^[=!<>(),]/.test(token);
}

function tokenize(text: string): string[] {
  return text.match(/==|!=|[=!<>(),]|[^=!<>(),\s]+/g) ?? [];
}

function splitUnescaped(text: string): string[] {
  const terms: string[] = [];
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '\\') index++;
    else if (text[index] === ',') {
      terms.push(text.slice(start, index));
      start = index + 1;
    }
  }
  terms.push(text.slice(start));
  return terms.filter((term) => term !== '');
}

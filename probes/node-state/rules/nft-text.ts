// SPDX-License-Identifier: Apache-2.0
/** Rules in nft's own language, close enough to be found in `nft -a list ruleset`; what is not known is shown as JSON. */
import { listOf, objectOf, textOf, type JsonObject } from '../parse/json-fields.ts';

export function ruleText(expressions: readonly JsonObject[]): string {
  return expressions
    .map(statement)
    .filter((text) => text !== '')
    .join(' ');
}

function statement(expression: JsonObject): string {
  const [kind = '', detail] = Object.entries(expression)[0] ?? [];
  const fields = objectOf(detail);
  switch (kind) {
    case 'match': {
      const operator = textOf(fields['op']);
      const sign = operator === '==' || operator === 'in' ? '' : `${operator} `;
      return `${value(fields['left'])} ${sign}${value(fields['right'])}`;
    }
    case 'vmap':
      return `${value(fields['key'])} vmap ${value(fields['data'])}`;
    case 'mangle':
      return `${value(fields['key'])} set ${value(fields['value'])}`;
    case 'counter':
    case 'accept':
    case 'drop':
    case 'return':
    case 'masquerade':
      return kind;
    case 'jump':
    case 'goto':
      return `${kind} ${textOf(fields['target'])}`;
    case 'dnat':
    case 'snat':
    case 'redirect': {
      const target = [fields['addr'], fields['port']]
        .filter((part) => part !== undefined)
        .map(value)
        .join(':');
      return target === '' ? kind : `${kind} to ${target}`;
    }
    case 'reject':
      return [
        'reject',
        fields['type'] === undefined ? '' : `with ${textOf(fields['type'])} ${textOf(fields['expr']) ?? ''}`,
      ]
        .join(' ')
        .trim();
    case 'set':
      return `${textOf(fields['op'])} ${textOf(fields['set'])} { ${value(fields['elem'])} }`;
    case 'log':
      return 'log';
    default:
      return JSON.stringify(expression);
  }
}

function value(expression: unknown): string {
  if (typeof expression === 'string' || typeof expression === 'number') return String(expression);
  if (Array.isArray(expression)) return expression.map(value).join(',');
  const [kind = '', detail] = Object.entries(objectOf(expression))[0] ?? [];
  const fields = objectOf(detail);
  switch (kind) {
    case 'payload':
      return `${textOf(fields['protocol'])} ${textOf(fields['field'])}`;
    case 'meta':
    case 'ct':
      return `${kind} ${textOf(fields['key'])}`;
    case 'fib':
      return `fib ${listOf(fields['flags']).join(' . ')} ${textOf(fields['result'])}`;
    case 'concat':
      return listOf(detail).map(value).join(' . ');
    case 'prefix':
      return `${value(fields['addr'])}/${value(fields['len'])}`;
    case 'range':
      return listOf(detail).map(value).join('-');
    case 'elem':
      return value(fields['val']);
    case 'set':
      return `{ ${listOf(detail).map(element).join(', ')} }`;
    case 'numgen':
      return `numgen ${textOf(fields['mode'])} mod ${value(fields['mod'])}`;
    case 'map':
      return `${value(fields['key'])} map ${value(fields['data'])}`;
    case '&':
    case '|':
    case '^':
    case '<<':
    case '>>':
      return listOf(detail).map(value).join(` ${kind} `);
    default:
      return JSON.stringify(expression) ?? '';
  }
}

function element(one: unknown): string {
  if (!Array.isArray(one)) return value(one);
  const [key, target] = one as unknown[];
  return `${value(key)} : ${typeof target === 'object' ? (statement(objectOf(target)).startsWith('{') ? value(target) : statement(objectOf(target))) : value(target)}`;
}

// SPDX-License-Identifier: Apache-2.0
// The subset of JSONPath that printer columns and selectable fields use: `.a.b`, `['a.b']`, `[0]`, `[*]`, `.*`, and filters
// like `[?(@.type=="Ready")]`.
import { isObject } from './structural-schema.ts';

type Step = (value: unknown) => unknown[];

const FIELD = /^\.?((?:[^.[\]\\]|\\.)+)/;
const QUOTED = /^\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]/;
const INDEX = /^\[(-?\d+)\]/;
const FILTER =
  /^\[\?\(@((?:\.[\w-]+|\[['"][^'"]+['"]\])*)\s*(?:(==|!=|<=|>=|<|>)\s*(?:"([^"]*)"|'([^']*)'|([\w.+-]+)))?\)\]/;

/**
 * @returns a function that finds all matches in an object.
 * @throws Error that quotes the part of the path it cannot read.
 */
export function compileJsonPath(path: string): (value: unknown) => unknown[] {
  const steps: Step[] = [];
  let rest = path
    .trim()
    .replace(/^\{(.*)\}$/, '$1')
    .replace(/^\$/, '');
  while (rest !== '' && rest !== '.') {
    const { step, length } = nextStep(rest, path);
    steps.push(step);
    rest = rest.slice(length);
  }
  return (value) => steps.reduce<unknown[]>((values, step) => values.flatMap(step), [value]);
}

function nextStep(rest: string, path: string): { step: Step; length: number } {
  if (rest.startsWith('[*]')) return { step: everything, length: 3 };
  if (rest.startsWith('.*')) return { step: everything, length: 2 };
  const index = INDEX.exec(rest);
  if (index !== null) {
    const at = Number(index[1]);
    return {
      step: (value) => (Array.isArray(value) ? defined((value as unknown[]).at(at)) : []),
      length: index[0].length,
    };
  }
  const quoted = QUOTED.exec(rest);
  if (quoted !== null) {
    const name = (quoted[1] ?? quoted[2] ?? '').replace(/\\(.)/g, '$1');
    return { step: (value) => member(value, name), length: quoted[0].length };
  }
  const filter = FILTER.exec(rest);
  if (filter !== null) return { step: filterStep(filter), length: filter[0].length };
  const field = rest.startsWith('[') ? null : FIELD.exec(rest);
  if (field?.[1] !== undefined) {
    const name = field[1].replace(/\\(.)/g, '$1');
    return { step: (value) => member(value, name), length: field[0].length };
  }
  throw new Error(`JSON path ${JSON.stringify(path)}: cannot read ${JSON.stringify(rest)}`);
}

function filterStep([, inner = '', operator, double, single, bare]: RegExpExecArray): Step {
  const find = compileJsonPath(inner === '' ? '$' : inner);
  const text = double ?? single;
  const wanted = text ?? (bare === undefined ? undefined : parseBare(bare));
  return (value) =>
    (Array.isArray(value) ? (value as unknown[]) : []).filter((item) => {
      const found = find(item);
      return operator === undefined ? found.length > 0 : found.some((one) => holds(one, operator, wanted));
    });
}

function parseBare(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  return Number.isNaN(Number(text)) ? text : Number(text);
}

function holds(value: unknown, operator: string, wanted: unknown): boolean {
  if (operator === '==') return value === wanted;
  if (operator === '!=') return value !== wanted;
  if (typeof value !== 'number' || typeof wanted !== 'number') return false;
  if (operator === '<') return value < wanted;
  if (operator === '<=') return value <= wanted;
  return operator === '>' ? value > wanted : value >= wanted;
}

function everything(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value) : [];
}

function member(value: unknown, name: string): unknown[] {
  return isObject(value) && Object.hasOwn(value, name) ? defined(value[name]) : [];
}

function defined(value: unknown): unknown[] {
  return value === undefined || value === null ? [] : [value];
}

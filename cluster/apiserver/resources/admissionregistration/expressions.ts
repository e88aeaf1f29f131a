// SPDX-License-Identifier: Apache-2.0
// Rules for expressions in CEL: that they are there and compile.
import type { MatchCondition, Variable } from '../../../machinery/api-types.ts';
import { compileCel } from '../../extensions/cel.ts';
import type { FieldError } from '../definition.ts';
import { duplicate, invalid, messages, required, tooMany } from '../validation/fields.ts';
import { qualifiedName } from '../validation/names.ts';

const maximum = 64;

export function validateMatchConditions(conditions: readonly MatchCondition[] | undefined, at: string): FieldError[] {
  const all = conditions ?? [];
  const names = all.map(({ name }) => name ?? '');
  return [
    ...(all.length > maximum ? [tooMany(at, all.length, maximum)] : []),
    ...all.flatMap(({ name = '', expression }, index) => [
      ...(name === ''
        ? [required(`${at}[${index}].name`)]
        : messages(`${at}[${index}].name`, name, qualifiedName(name))),
      ...(names.indexOf(name) < index ? [duplicate(`${at}[${index}].name`, name)] : []),
      ...validateExpression(expression, `${at}[${index}].expression`),
    ]),
  ];
}

export function validateVariables(variables: readonly Variable[] | undefined, at: string): FieldError[] {
  return (variables ?? []).flatMap(({ name = '', expression }, index) => [
    ...(/^[A-Za-z_]\w*$/.test(name)
      ? []
      : [invalid(`${at}[${index}].name`, name, 'name is not a valid CEL identifier')]),
    ...validateExpression(expression, `${at}[${index}].expression`),
  ]);
}

export function validateExpression(
  expression: string | undefined,
  at: string,
  compile: (expression: string) => unknown = compileCel,
): FieldError[] {
  if ((expression ?? '').trim() === '') return [required(at)];
  try {
    compile(expression ?? '');
    return [];
  } catch (error) {
    return [invalid(at, expression, `compilation failed: ERROR: ${(error as Error).message}`)];
  }
}

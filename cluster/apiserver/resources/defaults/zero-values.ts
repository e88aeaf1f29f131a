// SPDX-License-Identifier: Apache-2.0
// Fills in what a client left out of the fields that are always there in Go: empty text, 0, false, an empty struct. After
// that the types of cluster/machinery/api-types.ts hold, so that rules need not ask for what cannot be absent.
import { typeByName } from '../../schema/schema.ts';
import type { TypeSchema } from '../../schema/schema.ts';

type Fill = (value: unknown) => void;
interface Plan {
  /** Fields that are always there. */
  readonly zeros: readonly (readonly [name: string, zero: () => unknown])[];
  /** Fields with something to fill in below. */
  readonly nested: readonly (readonly [name: string, fill: Fill])[];
}

const plans = new WeakMap<TypeSchema, Plan>();

/** In place. `metadata` is left alone: its rules are in the generic code. Does nothing for a type without schema. */
export function fillZeroValues(schema: string, object: object): void {
  const type = typeByName(schema);
  if (type !== undefined) {
    fillStruct(type, object as Record<string, unknown>);
  }
}

function fillStruct(type: TypeSchema, object: Record<string, unknown>): void {
  const { zeros, nested } = planOf(type);
  for (const [name, zero] of zeros) {
    object[name] ??= zero();
  }
  for (const [name, fill] of nested) {
    const value = object[name];
    if (value !== undefined && value !== null) {
      fill(value);
    }
  }
}

function planOf(type: TypeSchema): Plan {
  const known = plans.get(type.base);
  if (known !== undefined) {
    return known;
  }
  const zeros: [string, () => unknown][] = [];
  const nested: [string, Fill][] = [];
  // Types such as JSON schemas contain themselves: the plan is known before it is complete.
  plans.set(type.base, { zeros, nested });
  for (const [name, field] of type.fields) {
    if (name === 'apiVersion' || name === 'kind' || name === 'metadata') {
      continue;
    }
    const zero = field.omitEmpty || field.pointer ? undefined : zeroOf(field.type);
    if (zero !== undefined) {
      zeros.push([name, zero]);
    }
    const fill = fillOf(field.type);
    if (fill !== undefined) {
      nested.push([name, fill]);
    }
  }
  return { zeros, nested };
}

function zeroOf(type: TypeSchema): (() => unknown) | undefined {
  switch (type.shape) {
    case 'string':
    case 'bytes':
      return () => '';
    case 'boolean':
      return () => false;
    case 'integer':
    case 'number':
    case 'intOrString':
      return () => 0;
    case 'quantity':
      return () => '0';
    case 'struct':
    case 'map':
      return () => ({});
    case 'list':
      return () => [];
    default:
      return undefined;
  }
}

function fillOf(type: TypeSchema): Fill | undefined {
  switch (type.shape) {
    case 'struct':
      return (value) => fillStruct(type, value as Record<string, unknown>);
    case 'list':
    case 'map': {
      const each = type.element === undefined ? undefined : fillOf(type.element);
      return each === undefined ? undefined : (value) => Object.values(value as object).forEach(each);
    }
    default:
      return undefined;
  }
}

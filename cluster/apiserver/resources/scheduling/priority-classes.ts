// SPDX-License-Identifier: Apache-2.0
// Priority classes: which pods go first, and which may push others off a node.
import type { PriorityClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { boolean, integer, text } from '../printing/columns.ts';
import { forbidden, oneOf, same } from '../validation/fields.ts';

const highestOfUsers = 1_000_000_000;

/** The classes that every cluster has, above what users may ask for. */
export const systemPriorities: Readonly<Record<string, number>> = {
  'system-node-critical': 2_000_001_000,
  'system-cluster-critical': 2_000_000_000,
};

export const priorityClasses = define<PriorityClass>({
  group: 'scheduling.k8s.io',
  plural: 'priorityclasses',
  kind: 'PriorityClass',
  namespaced: false,
  shortNames: ['pc'],
  default(value) {
    value.preemptionPolicy ??= 'PreemptLowerPriority';
    value.value ??= 0;
  },
  validate,
  validateUpdate: (value, old) => [
    ...(value.value === old.value ? [] : [forbidden('value', 'may not be changed in an update.')]),
    ...(same(value.preemptionPolicy, old.preemptionPolicy)
      ? []
      : [forbidden('preemptionPolicy', 'may not be changed in an update.')]),
  ],
  columns: [integer('Value', ({ value }) => value), boolean('Global-Default', ({ globalDefault }) => globalDefault)],
  wideColumns: [text('PreemptionPolicy', ({ preemptionPolicy }) => preemptionPolicy ?? '')],
});

function validate({ metadata, value = 0, preemptionPolicy }: PriorityClass): FieldError[] {
  const { name = '' } = metadata;
  const errors = oneOf('preemptionPolicy', preemptionPolicy, ['Never', 'PreemptLowerPriority']);
  if (name.startsWith('system-')) {
    if (systemPriorities[name] !== value) {
      errors.push(
        forbidden('metadata.name', "priority class names with 'system-' prefix are reserved for system use only"),
      );
    }
  } else if (value > highestOfUsers) {
    errors.push(forbidden('value', `maximum allowed value of a user defined priority is ${highestOfUsers}`));
  }
  return errors;
}

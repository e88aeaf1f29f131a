// SPDX-License-Identifier: Apache-2.0
// Mutating admission policies: changes to requests in CEL.
import type { MutatingAdmissionPolicy, Mutation } from '../../../machinery/api-types.ts';
import { compileMutation } from '../../extensions/cel.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { integer, text } from '../printing/columns.ts';
import { forbidden, oneOf, required } from '../validation/fields.ts';
import { validateExpression, validateMatchConditions, validateVariables } from './expressions.ts';
import { defaultMatchResources } from './webhooks.ts';

export const mutatingAdmissionPolicies = define<MutatingAdmissionPolicy>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicies',
  kind: 'MutatingAdmissionPolicy',
  namespaced: false,
  categories: ['api-extensions'],
  default({ spec }) {
    if (spec !== undefined) {
      spec.failurePolicy ??= 'Fail';
      defaultMatchResources(spec.matchConstraints);
    }
  },
  validate: ({ spec }) => [
    ...((spec?.matchConstraints?.resourceRules ?? []).length === 0
      ? [required('spec.matchConstraints.resourceRules')]
      : []),
    ...oneOf('spec.reinvocationPolicy', spec?.reinvocationPolicy, ['Never', 'IfNeeded']),
    ...validateVariables(spec?.variables, 'spec.variables'),
    ...validateMatchConditions(spec?.matchConditions, 'spec.matchConditions'),
    ...((spec?.mutations ?? []).length === 0 ? [required('spec.mutations')] : []),
    ...(spec?.mutations ?? []).flatMap((mutation, index) => validateMutation(mutation, `spec.mutations[${index}]`)),
  ],
  columns: [
    integer('Mutations', ({ spec }) => spec?.mutations?.length),
    text('ParamKind', ({ spec }) =>
      spec?.paramKind === undefined ? '<unset>' : `${spec.paramKind.apiVersion}/${spec.paramKind.kind}`,
    ),
  ],
});

function validateMutation({ patchType, applyConfiguration, jsonPatch }: Mutation, at: string): FieldError[] {
  const wrong = oneOf(`${at}.patchType`, patchType, ['ApplyConfiguration', 'JSONPatch']);
  if (wrong.length > 0) {
    return wrong;
  }
  const apply = patchType === 'ApplyConfiguration';
  const [field, other] = apply ? ['applyConfiguration', 'jsonPatch'] : ['jsonPatch', 'applyConfiguration'];
  const own = apply ? applyConfiguration : jsonPatch;
  return [
    ...((apply ? jsonPatch : applyConfiguration) === undefined
      ? []
      : [forbidden(`${at}.${other}`, `may not be specified when patchType is ${patchType}`)]),
    ...(own === undefined
      ? [required(`${at}.${field}`, `must be specified when patchType is ${patchType}`)]
      : validateExpression(own.expression, `${at}.${field}.expression`, compileMutation)),
  ];
}

// SPDX-License-Identifier: Apache-2.0
// Validating admission policies: rules in CEL.
import type { ValidatingAdmissionPolicy } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer, text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';
import { validateExpression, validateMatchConditions, validateVariables } from './expressions.ts';
import { defaultMatchResources } from './webhooks.ts';

export const validatingAdmissionPolicies = define<ValidatingAdmissionPolicy>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicies',
  kind: 'ValidatingAdmissionPolicy',
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
    ...validateVariables(spec?.variables, 'spec.variables'),
    ...validateMatchConditions(spec?.matchConditions, 'spec.matchConditions'),
    ...(spec?.validations ?? []).flatMap(({ expression, messageExpression }, index) => [
      ...validateExpression(expression, `spec.validations[${index}].expression`),
      ...(messageExpression === undefined
        ? []
        : validateExpression(messageExpression, `spec.validations[${index}].messageExpression`)),
    ]),
  ],
  status: true,
  initialStatus: () => ({}),
  columns: [
    integer('Validations', ({ spec }) => spec?.validations?.length),
    text('ParamKind', ({ spec }) =>
      spec?.paramKind === undefined ? '<unset>' : `${spec.paramKind.apiVersion}/${spec.paramKind.kind}`,
    ),
  ],
});

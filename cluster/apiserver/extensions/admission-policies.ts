// SPDX-License-Identifier: Apache-2.0
// ValidatingAdmissionPolicy: rules in CEL about requests, as objects of the API. Everything of a policy is supported but
// audit annotations and the `authorizer` variable, whose use counts as an error of the expression.
import type { ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding } from '../../machinery/api-types.ts';
import { objectName } from '../admission/attributes.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject, Registry } from '../resources/definition.ts';
import { StatusError, qualified } from '../status.ts';
import type { CelProgram } from './cel.ts';
import { compileCel, firstLine } from './cel.ts';
import type { NamedProgram } from './policy-matching.ts';
import { compileNamed, isMatch, paramsOf, requestVariables } from './policy-matching.ts';

const GROUP = 'admissionregistration.k8s.io';
const CODES: Readonly<Record<string, number>> = {
  Unauthorized: 401,
  Forbidden: 403,
  RequestEntityTooLarge: 413,
  Invalid: 422,
};

export const validatingAdmissionPolicies: AdmissionPlugin = {
  name: 'ValidatingAdmissionPolicy',
  validate: (attributes) => evaluateAdmissionPolicies(attributes, attributes.context.registry),
  connect: (attributes) => evaluateAdmissionPolicies(attributes, attributes.context.registry),
};

/**
 * Asks every policy that is bound and matches. Violations are refused or become warnings, as the binding says.
 * @throws StatusError for the first violation that a binding wants denied.
 */
export function evaluateAdmissionPolicies(attributes: AdmissionAttributes, registry: Registry): void {
  const bindings = registry.list(`validatingadmissionpolicybindings.${GROUP}`);
  // Policies must not be able to lock everybody out of changing policies.
  if (bindings.length === 0 || attributes.definition.plural.startsWith('validatingadmissionpolic')) return;
  for (const object of bindings) {
    const binding = object as unknown as ValidatingAdmissionPolicyBinding;
    const name = binding.spec?.policyName ?? '';
    const policy = registry.get(`validatingadmissionpolicies.${GROUP}`, undefined, name);
    if (policy === undefined) continue;
    const { spec } = policy as unknown as ValidatingAdmissionPolicy;
    if (!isMatch(spec?.matchConstraints, attributes)) continue;
    const { matchResources } = binding.spec ?? {};
    if (matchResources !== undefined && !isMatch(matchResources, attributes)) continue;
    for (const violation of violationsOf(policy, binding, attributes, registry)) {
      react(violation, { policy: name, binding, attributes });
    }
  }
}

interface Violation {
  readonly message: string;
  readonly reason: string;
}

function react(
  { message, reason }: Violation,
  {
    policy,
    binding,
    attributes,
  }: { policy: string; binding: ValidatingAdmissionPolicyBinding; attributes: AdmissionAttributes },
): void {
  const actions = binding.spec?.validationActions ?? [];
  const who = `ValidatingAdmissionPolicy '${policy}' with binding '${binding.metadata.name ?? ''}'`;
  if (actions.includes('Warn')) attributes.context.warn(`Validation failed for ${who}: ${message}`);
  if (!actions.includes('Deny')) return;
  const { group, plural } = attributes.definition;
  const name = objectName(attributes);
  const text = `${qualified(plural, group)} ${JSON.stringify(name)} is forbidden: ${who} denied request: ${message}`;
  throw new StatusError(CODES[reason] ?? 422, CODES[reason] === undefined ? 'Invalid' : reason, text, {
    name,
    ...(group === '' ? {} : { group }),
    kind: plural,
    causes: [{ message: `${who} denied request: ${message}` }],
  });
}

interface CompiledPolicy {
  readonly conditions: readonly NamedProgram[];
  readonly variables: readonly NamedProgram[];
  readonly validations: readonly {
    expression: string;
    program: CelProgram;
    message: string | undefined;
    explain: CelProgram | undefined;
    reason: string;
  }[];
}

/** The watch cache gives a new object for every revision, so nothing here grows stale. */
const compiled = new WeakMap<KubeObject, CompiledPolicy | Error>();

function compile(policy: KubeObject): CompiledPolicy | Error {
  let result = compiled.get(policy);
  if (result === undefined) {
    const { spec } = policy as unknown as ValidatingAdmissionPolicy;
    try {
      result = {
        conditions: compileNamed(spec?.matchConditions),
        variables: compileNamed(spec?.variables),
        validations: (spec?.validations ?? []).map(({ expression, message, messageExpression, reason }) => ({
          expression,
          program: compileCel(expression),
          message,
          explain: messageExpression === undefined ? undefined : compileCel(messageExpression),
          reason: reason ?? 'Invalid',
        })),
      };
    } catch (error) {
      result = error as Error;
    }
    compiled.set(policy, result);
  }
  return result;
}

function violationsOf(
  policy: KubeObject,
  binding: ValidatingAdmissionPolicyBinding,
  attributes: AdmissionAttributes,
  registry: Registry,
): Violation[] {
  const { spec } = policy as unknown as ValidatingAdmissionPolicy;
  const ignore = spec?.failurePolicy === 'Ignore';
  const failed = (message: string): Violation[] => (ignore ? [] : [{ message, reason: 'Invalid' }]);
  const program = compile(policy);
  if (program instanceof Error) return failed(`compilation error: ${program.message}`);
  const params = paramsOf(spec?.paramKind, binding.spec?.paramRef, { attributes, registry });
  if (params === 'missing') {
    const allowed = binding.spec?.paramRef?.parameterNotFoundAction === 'Allow';
    return allowed
      ? []
      : failed('failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction');
  }
  return params.flatMap((param) => {
    const variables = requestVariables(attributes, { registry, param, variables: program.variables });
    try {
      if (!program.conditions.every((condition) => condition.program(variables) === true)) return [];
    } catch (error) {
      return failed(`match condition failed: ${firstLine(error)}`);
    }
    return program.validations.flatMap((validation): Violation[] => {
      try {
        if (validation.program(variables) === true) return [];
      } catch (error) {
        return failed(`expression '${validation.expression}' resulted in error: ${firstLine(error)}`);
      }
      const message = explanation(validation.explain, variables) ?? validation.message;
      return [{ message: message ?? `failed expression: ${validation.expression}`, reason: validation.reason }];
    });
  });
}

function explanation(program: CelProgram | undefined, variables: Record<string, unknown>): string | undefined {
  try {
    const text = program?.(variables);
    return typeof text === 'string' && text.trim() !== '' ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}

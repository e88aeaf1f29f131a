// SPDX-License-Identifier: Apache-2.0
// ValidatingAdmissionPolicy: rules in CEL about requests, as objects of the API. Everything of a policy is supported but
// audit annotations and the `authorizer` variable, whose use counts as an error of the expression.
import type {
  MatchResources,
  ValidatingAdmissionPolicy,
  ValidatingAdmissionPolicyBinding,
} from '../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { namespaceOf, objectName } from '../admission/attributes.ts';
import { matchesNamespace, matchesObject, matchesRule } from '../admission/webhooks.ts';
import type {
  AdmissionAttributes,
  AdmissionPlugin,
  KubeObject,
  Registry,
  ResourceDefinition,
} from '../resources/definition.ts';
import { StatusError, qualified } from '../status.ts';
import type { CelProgram } from './cel.ts';
import { compileCel, firstLine, toCel } from './cel.ts';

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

function isMatch(match: MatchResources | undefined, attributes: AdmissionAttributes): boolean {
  if (match === undefined) return false;
  const name = objectName(attributes);
  const among = (rules: MatchResources['resourceRules']): boolean =>
    (rules ?? []).some((rule) => {
      const { resourceNames = [] } = rule;
      return matchesRule(rule, attributes) && (resourceNames.length === 0 || resourceNames.includes(name));
    });
  // A binding may leave the rules out: the policy's are enough.
  const included = match.resourceRules === undefined || among(match.resourceRules);
  return (
    included &&
    !among(match.excludeResourceRules) &&
    matchesObject(match, attributes) &&
    matchesNamespace(match, attributes)
  );
}

interface CompiledPolicy {
  readonly conditions: readonly { name: string; program: CelProgram }[];
  readonly variables: readonly { name: string; program: CelProgram }[];
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
    const named = ({ name, expression }: { name: string; expression: string }) => ({
      name,
      program: compileCel(expression),
    });
    try {
      result = {
        conditions: (spec?.matchConditions ?? []).map(named),
        variables: (spec?.variables ?? []).map(named),
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
  const params = paramsOf(policy, binding, { attributes, registry });
  if (params === 'missing') {
    const allowed = binding.spec?.paramRef?.parameterNotFoundAction === 'Allow';
    return allowed
      ? []
      : failed('failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction');
  }
  return params.flatMap((param) => {
    const variables = variablesOf(program, { attributes, registry, param });
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

/** Parameter objects to evaluate with, one by one; `[undefined]` for a policy without parameters. */
function paramsOf(
  policy: KubeObject,
  binding: ValidatingAdmissionPolicyBinding,
  { attributes, registry }: { attributes: AdmissionAttributes; registry: Registry },
): readonly (KubeObject | undefined)[] | 'missing' {
  const { paramKind } = (policy as unknown as ValidatingAdmissionPolicy).spec ?? {};
  const ref = binding.spec?.paramRef;
  if (paramKind === undefined || ref === undefined) return [undefined];
  const definition = definitionOfKind(registry, paramKind);
  if (definition === undefined) return 'missing';
  const resource = qualified(definition.plural, definition.group);
  const namespace = definition.namespaced ? (ref.namespace ?? namespaceOf(attributes)) : undefined;
  const found =
    ref.name === undefined || ref.name === ''
      ? registry
          .list(resource, namespace)
          .filter((one) => matchesLabelSelector(ref.selector, one.metadata.labels ?? {}))
      : [registry.get(resource, namespace, ref.name)].filter((one) => one !== undefined);
  return found.length === 0 ? 'missing' : found;
}

/** Resources are found by plural name, of which a kind has one of a few forms. */
function definitionOfKind(
  registry: Registry,
  { apiVersion = '', kind = '' }: { apiVersion?: string; kind?: string },
): ResourceDefinition | undefined {
  const group = apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';
  const singular = kind.toLowerCase();
  return [`${singular}s`, `${singular}es`, singular.replace(/y$/, 'ies'), singular]
    .map((plural) => registry.definition(qualified(plural, group)))
    .find((definition) => definition?.kind === kind);
}

function variablesOf(
  program: CompiledPolicy,
  {
    attributes,
    registry,
    param,
  }: { attributes: AdmissionAttributes; registry: Registry; param: KubeObject | undefined },
): Record<string, unknown> {
  const { object, old, operation, definition, context } = attributes;
  const namespace = definition.namespaced ? namespaceOf(attributes) : '';
  const { group, plural, kind } = definition;
  const named: Record<string, unknown> = {};
  const variables: Record<string, unknown> = {
    object: toCel(undefined, operation === 'DELETE' ? null : (object ?? null)),
    oldObject: toCel(undefined, old ?? null),
    params: toCel(undefined, param ?? null),
    namespaceObject: toCel(
      undefined,
      namespace === '' ? null : (registry.get('namespaces', undefined, namespace) ?? null),
    ),
    request: toCel(undefined, {
      kind: { group, version: context.version, kind },
      resource: { group, version: context.version, resource: plural },
      subResource: context.subresource ?? '',
      name: objectName(attributes),
      namespace,
      operation,
      userInfo: {
        username: context.user.name,
        uid: context.user.uid ?? '',
        groups: context.user.groups,
        extra: context.user.extra ?? {},
      },
      dryRun: context.dryRun,
    }),
    variables: named,
  };
  for (const { name, program: evaluate } of program.variables) {
    // Evaluated when first used, since an expression may guard against the error of another.
    let value: unknown;
    let known = false;
    Object.defineProperty(named, name, {
      enumerable: true,
      get() {
        if (!known) {
          value = evaluate(variables);
          known = true;
        }
        return value;
      },
    });
  }
  return variables;
}

// SPDX-License-Identifier: Apache-2.0
// What validating and mutating admission policies and the match conditions of webhooks share: which requests they are
// about, with which parameters, and the variables that their expressions see.
import type { MatchResources, NamedRuleWithOperations, ParamKind, ParamRef } from '../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { namespaceOf, objectName } from '../admission/attributes.ts';
import { matchesNamespace, matchesObject, matchesRule } from '../admission/rules.ts';
import type { AdmissionAttributes, KubeObject, Registry, ResourceDefinition } from '../resources/definition.ts';
import { qualified } from '../status.ts';
import type { CelProgram } from './cel.ts';
import { compileCel, toCel } from './cel.ts';

export interface NamedExpression {
  readonly name: string;
  readonly expression: string;
}

export interface NamedProgram {
  readonly name: string;
  readonly program: CelProgram;
}

/** @throws Error when an expression does not parse. */
export function compileNamed(expressions: readonly NamedExpression[] | undefined): NamedProgram[] {
  return (expressions ?? []).map(({ name, expression }) => ({ name, program: compileCel(expression) }));
}

export function isMatch(match: MatchResources | undefined, attributes: AdmissionAttributes): boolean {
  if (match === undefined) return false;
  const name = objectName(attributes);
  const among = (rules: readonly NamedRuleWithOperations[] | undefined): boolean =>
    (rules ?? []).some((rule) => {
      const { resourceNames = [] } = rule;
      return (
        matchesRule(rule, attributes, match.matchPolicy) && (resourceNames.length === 0 || resourceNames.includes(name))
      );
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

/** Parameter objects to evaluate with, one by one; `[undefined]` for a policy without parameters. */
export function paramsOf(
  paramKind: ParamKind | undefined,
  ref: ParamRef | undefined,
  { attributes, registry }: { attributes: AdmissionAttributes; registry: Registry },
): readonly (KubeObject | undefined)[] | 'missing' {
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

/** `object`, `oldObject`, `request`, `params`, `namespaceObject` and `variables` of a request. */
export function requestVariables(
  attributes: AdmissionAttributes,
  {
    registry,
    param,
    variables: programs = [],
  }: { registry: Registry; param?: KubeObject | undefined; variables?: readonly NamedProgram[] },
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
  for (const { name, program: evaluate } of programs) {
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

// SPDX-License-Identifier: Apache-2.0
// MutatingAdmissionPolicy: changes to requests in CEL, as objects of the API; as apply configurations or JSON patches.
// Policies run in order of their bindings' names, once; the `authorizer` variable counts as an error of the expression.
import type { MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, Mutation } from '../../machinery/api-types.ts';
import { objectName, replaceObject } from '../admission/attributes.ts';
import { versionFor } from '../admission/rules.ts';
import { applyJsonPatch } from '../patch/json-patch.ts';
import { mergeTyped } from '../patch/typed-value.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject, ResourceVersion } from '../resources/definition.ts';
import { typeByName } from '../schema/schema.ts';
import { copy } from '../server/json.ts';
import { StatusError, qualified } from '../status.ts';
import type { CelProgram } from './cel.ts';
import { compileMutation, firstLine, fromCel } from './cel.ts';
import { converting } from './conversion.ts';
import type { NamedProgram } from './policy-matching.ts';
import { compileNamed, isMatch, paramsOf, requestVariables } from './policy-matching.ts';

const GROUP = 'admissionregistration.k8s.io';

export const mutatingAdmissionPolicies: AdmissionPlugin = {
  name: 'MutatingAdmissionPolicy',
  mutate: applyMutatingPolicies,
};

/** @throws StatusError 422 when a policy that fails closed cannot be evaluated. */
export async function applyMutatingPolicies(attributes: AdmissionAttributes): Promise<void> {
  const { registry } = attributes.context;
  const bindings = registry.list(`mutatingadmissionpolicybindings.${GROUP}`);
  // Policies must not be able to lock everybody out of changing policies.
  const { object } = attributes;
  if (bindings.length === 0 || object === undefined || attributes.definition.group === GROUP) return;
  for (const one of bindings.toSorted((a, b) => ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1))) {
    const binding = one as unknown as MutatingAdmissionPolicyBinding;
    const name = binding.spec?.policyName ?? '';
    const policy = registry.get(`mutatingadmissionpolicies.${GROUP}`, undefined, name);
    if (policy === undefined) continue;
    const { spec } = policy as unknown as MutatingAdmissionPolicy;
    if (!isMatch(spec?.matchConstraints, attributes)) continue;
    const { matchResources } = binding.spec ?? {};
    if (matchResources !== undefined && !isMatch(matchResources, attributes)) continue;
    try {
      const next = await converting(() => mutated(policy, binding, { ...attributes, object }));
      replaceObject(object, next);
    } catch (error) {
      if (spec?.failurePolicy !== 'Ignore') throw refused(error, { policy: name, binding, attributes });
    }
  }
}

/** The object, in its stored form, as the policy leaves it. */
function mutated(
  policy: KubeObject,
  binding: MutatingAdmissionPolicyBinding,
  attributes: AdmissionAttributes & { readonly object: KubeObject },
): KubeObject {
  const { object, context } = attributes;
  const { spec } = policy as unknown as MutatingAdmissionPolicy;
  const program = compile(policy);
  if (program instanceof Error) throw new Error(`compilation error: ${program.message}`);
  const params = paramsOf(spec?.paramKind, binding.spec?.paramRef, { attributes, registry: context.registry });
  if (params === 'missing') {
    if (binding.spec?.paramRef?.parameterNotFoundAction === 'Allow') return object;
    throw new Error('no params found for policy binding with `Deny` parameterNotFoundAction');
  }
  const version = versionFor(spec?.matchConstraints?.resourceRules ?? [], attributes);
  let current = copy(version.fromStorage?.(object) ?? object);
  for (const param of params) {
    const see = (): Record<string, unknown> =>
      requestVariables(
        { ...attributes, object: current },
        { registry: context.registry, param, variables: program.variables },
      );
    if (!program.conditions.every((condition) => condition.program(see()) === true)) continue;
    // Each mutation sees what the ones before it did.
    for (const { kind, evaluate } of program.mutations) {
      current = checked(current, applied(kind, { current, value: fromCel(evaluate(see())), version }));
    }
  }
  return version.toStorage?.(current) ?? current;
}

function applied(
  kind: Mutation['patchType'],
  { current, value, version }: { current: KubeObject; value: unknown; version: ResourceVersion },
): KubeObject {
  if (kind === 'JSONPatch') return applyJsonPatch(current, value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('an ApplyConfiguration expression must give an Object');
  }
  return copy(mergeTyped(typeByName(version.schema), current, value)) as KubeObject;
}

/** A mutation may not make another object of it. */
function checked(before: KubeObject, after: KubeObject): KubeObject {
  for (const field of ['name', 'namespace', 'uid'] as const) {
    if (before.metadata[field] !== after.metadata?.[field]) throw new Error(`metadata.${field} must not be changed`);
  }
  if (before.apiVersion !== after.apiVersion || before.kind !== after.kind) {
    throw new Error('apiVersion and kind must not be changed');
  }
  return after;
}

function refused(
  error: unknown,
  {
    policy,
    binding,
    attributes,
  }: { policy: string; binding: MutatingAdmissionPolicyBinding; attributes: AdmissionAttributes },
): StatusError {
  const { group, plural } = attributes.definition;
  const name = objectName(attributes);
  const why = `policy '${policy}' with binding '${binding.metadata.name ?? ''}' denied request: ${firstLine(error)}`;
  const text = `${qualified(plural, group)} ${JSON.stringify(name)} is forbidden: ${why}`;
  return new StatusError(422, 'Invalid', text, {
    name,
    ...(group === '' ? {} : { group }),
    kind: plural,
    causes: [{ message: why }],
  });
}

interface CompiledPolicy {
  readonly conditions: readonly NamedProgram[];
  readonly variables: readonly NamedProgram[];
  readonly mutations: readonly { readonly kind: Mutation['patchType']; readonly evaluate: CelProgram }[];
}

/** The watch cache gives a new object for every revision, so nothing here grows stale. */
const compiled = new WeakMap<KubeObject, CompiledPolicy | Error>();

function compile(policy: KubeObject): CompiledPolicy | Error {
  let result = compiled.get(policy);
  if (result === undefined) {
    const { spec } = policy as unknown as MutatingAdmissionPolicy;
    try {
      result = {
        conditions: compileNamed(spec?.matchConditions),
        variables: compileNamed(spec?.variables),
        mutations: (spec?.mutations ?? []).map(({ patchType, applyConfiguration, jsonPatch }) => ({
          kind: patchType,
          evaluate: compileMutation((applyConfiguration ?? jsonPatch)?.expression ?? ''),
        })),
      };
    } catch (error) {
      result = error as Error;
    }
    compiled.set(policy, result);
  }
  return result;
}

// SPDX-License-Identifier: Apache-2.0
// Which requests the rules and selectors of webhooks and admission policies are about.
import type { LabelSelector, MatchPolicyType, RuleWithOperations } from '../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import type { AdmissionAttributes, ResourceVersion } from '../resources/definition.ts';
import { namespaceOf } from './attributes.ts';

/** Under `Equivalent`, a rule for any served version takes requests in every other one too. */
export function matchesRule(
  rule: RuleWithOperations,
  attributes: AdmissionAttributes,
  matchPolicy: MatchPolicyType | undefined,
): boolean {
  const { operation, definition, context } = attributes;
  const sub = context.subresource ?? '';
  const inScope =
    rule.scope === undefined || rule.scope === '*' || (rule.scope === 'Namespaced') === definition.namespaced;
  return (
    inScope &&
    has(rule.operations, operation) &&
    has(rule.apiGroups, definition.group) &&
    (has(rule.apiVersions, context.version) ||
      (matchPolicy !== 'Exact' && definition.versions.some(({ version }) => has(rule.apiVersions, version)))) &&
    (rule.resources ?? []).some((resource) => {
      const [main = '', subresource = ''] = resource.split('/');
      return (
        (main === '*' || main === definition.plural) &&
        (subresource === sub || (subresource === '*' && resource !== '*'))
      );
    })
  );
}

/** The version in which the object is shown: the one requested if a rule names it, else the first that one does. */
export function versionFor(
  rules: readonly RuleWithOperations[],
  { definition, context }: AdmissionAttributes,
): ResourceVersion {
  const { versions } = definition;
  const named = versions.filter(({ version }) => rules.some((rule) => has(rule.apiVersions, version)));
  return named.find(({ version }) => version === context.version) ?? named[0] ?? versions[0];
}

function has(list: readonly string[] | undefined, value: string): boolean {
  return (list ?? []).some((item) => item === '*' || item === value);
}

export function matchesObject(
  { objectSelector }: { readonly objectSelector?: LabelSelector },
  { object, old }: AdmissionAttributes,
): boolean {
  return (
    objectSelector === undefined ||
    [object, old].some((one) => one !== undefined && matchesLabelSelector(objectSelector, one.metadata.labels ?? {}))
  );
}

export function matchesNamespace(
  { namespaceSelector }: { readonly namespaceSelector?: LabelSelector },
  attributes: AdmissionAttributes,
): boolean {
  if (namespaceSelector === undefined) {
    return true;
  }
  const { definition, context, object, old } = attributes;
  if (definition.group === '' && definition.plural === 'namespaces') {
    return matchesLabelSelector(namespaceSelector, (object ?? old)?.metadata.labels ?? {});
  }
  if (!definition.namespaced) {
    return true;
  }
  const namespace = context.registry.get('namespaces', undefined, namespaceOf(attributes));
  return matchesLabelSelector(namespaceSelector, namespace?.metadata.labels ?? {});
}

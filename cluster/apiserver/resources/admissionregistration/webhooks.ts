// SPDX-License-Identifier: Apache-2.0
// What validating and mutating webhook configurations and policies share: defaults and rules.
import type { MatchResources, MutatingWebhook, ParamRef, ValidatingWebhook } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { validateMatchConditions } from './expressions.ts';
import { duplicate, inRange, invalid, messages, oneOf, required } from '../validation/fields.ts';
import { dnsSubdomain } from '../validation/names.ts';
import { validateLabelSelector } from '../validation/selectors.ts';

const timeout = { least: 1, most: 30 } as const;

export function defaultWebhook(webhook: ValidatingWebhook | MutatingWebhook): void {
  webhook.failurePolicy ??= 'Fail';
  webhook.matchPolicy ??= 'Equivalent';
  webhook.namespaceSelector ??= {};
  webhook.objectSelector ??= {};
  webhook.timeoutSeconds ??= 10;
  if (webhook.clientConfig?.service !== undefined) {
    webhook.clientConfig.service.port ??= 443;
  }
  for (const rule of webhook.rules ?? []) {
    rule.scope ??= '*';
  }
}

export function defaultMatchResources(match: MatchResources | undefined): void {
  if (match === undefined) {
    return;
  }
  match.matchPolicy ??= 'Equivalent';
  match.namespaceSelector ??= {};
  match.objectSelector ??= {};
  for (const rule of [...(match.resourceRules ?? []), ...(match.excludeResourceRules ?? [])]) {
    rule.scope ??= '*';
  }
}

/** Column of a policy's binding. */
export function paramRefCell(reference: ParamRef | undefined): string {
  if (reference === undefined) {
    return '<unset>';
  }
  return reference.namespace === undefined
    ? (reference.name ?? '*')
    : `${reference.namespace}/${reference.name ?? '*'}`;
}

export function validateWebhooks(webhooks: readonly (ValidatingWebhook | MutatingWebhook)[] | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [index, webhook] of (webhooks ?? []).entries()) {
    const at = `webhooks[${index}]`;
    const name = webhook.name ?? '';
    errors.push(...messages(`${at}.name`, name, dnsSubdomain(name)));
    if (name.split('.').length < 3) {
      errors.push(invalid(`${at}.name`, name, 'should be a domain with at least three segments separated by dots'));
    }
    if (names.has(name)) {
      errors.push(duplicate(`${at}.name`, name));
    }
    names.add(name);
    errors.push(
      ...validateLabelSelector(webhook.namespaceSelector, `${at}.namespaceSelector`),
      ...validateLabelSelector(webhook.objectSelector, `${at}.objectSelector`),
      ...validateMatchConditions(webhook.matchConditions, `${at}.matchConditions`),
      ...oneOf(`${at}.failurePolicy`, webhook.failurePolicy, ['Fail', 'Ignore']),
      ...oneOf(`${at}.sideEffects`, webhook.sideEffects, ['None', 'NoneOnDryRun']),
      ...inRange(`${at}.timeoutSeconds`, webhook.timeoutSeconds ?? 10, timeout),
    );
    if (!(webhook.admissionReviewVersions ?? []).some((version) => version === 'v1' || version === 'v1beta1')) {
      errors.push(
        invalid(
          `${at}.admissionReviewVersions`,
          webhook.admissionReviewVersions,
          'must include at least one of v1, v1beta1',
        ),
      );
    }
    const { url, service } = webhook.clientConfig ?? {};
    if ((url === undefined) === (service === undefined)) {
      errors.push(required(`${at}.clientConfig`, 'exactly one of url or service is required'));
    } else if (url !== undefined && URL.parse(url)?.protocol !== 'https:') {
      errors.push(
        invalid(
          `${at}.clientConfig.url`,
          url,
          "'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
      );
    }
  }
  return errors;
}

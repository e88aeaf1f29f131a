// SPDX-License-Identifier: Apache-2.0
// ResourceQuota: charges new objects to the namespace's quotas, in their status, before they are stored.
import type { Container, Pod, ResourceQuota } from '../../machinery/api-types.ts';
import { format, parseQuantity } from '../../machinery/quantities.ts';
import { typed } from '../resources/define.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject } from '../resources/definition.ts';
import { namespaceOf, refusal, resourceName } from './attributes.ts';
import { costOf, inScope, type Cost } from './quota-usage.ts';

/** Amounts that a quota can only keep count of when every container states them. */
const stated = /^(requests\.|limits\.)?(cpu|memory)$/;
/** Updates that can cost more than the object did before. */
const growing = new Set(['pods', 'services', 'persistentvolumeclaims']);

export const resourceQuota: AdmissionPlugin = {
  name: 'ResourceQuota',
  async validate(attributes) {
    const { operation, definition, context, object } = attributes;
    const resource = resourceName(attributes);
    const whole = context.subresource === undefined || context.subresource === '' || context.subresource === 'resize';
    if (object === undefined || !definition.namespaced || !whole || resource === 'events') {
      return;
    }
    if (operation !== 'CREATE' && !(operation === 'UPDATE' && growing.has(resource))) {
      return;
    }
    const quotas = typed<ResourceQuota>(context.registry.list('resourcequotas', namespaceOf(attributes)));
    if (quotas.length > 0) {
      await charge(attributes, quotas, resource);
    }
  },
};

async function charge(
  attributes: AdmissionAttributes,
  quotas: readonly ResourceQuota[],
  resource: string,
): Promise<void> {
  const { context, object, old } = attributes;
  const added = difference(costOf(resource, object as KubeObject), old === undefined ? {} : costOf(resource, old));
  const charged = quotas.flatMap((quota) => {
    const hard = quota.spec?.hard ?? {};
    const names = Object.keys(added).filter((name) => hard[name] !== undefined);
    return inScope(quota, resource, object as KubeObject) ? [{ quota, hard, names }] : [];
  });
  for (const { quota, hard } of charged) {
    requireStated(attributes, quota, hard);
  }
  for (const { quota, names } of charged) {
    if (names.length === 0) {
      continue;
    }
    const { namespace, name = '' } = quota.metadata;
    if (context.dryRun) {
      addUsage(attributes, quota, { added, names });
      continue;
    }
    await context.registry.update(
      'resourcequotas',
      namespace,
      name,
      (stored) => {
        const live = stored as unknown as ResourceQuota;
        addUsage(attributes, live, { added, names });
        return stored;
      },
      { subresource: 'status' },
    );
  }
}

/** Adds to `status.used`, in place. Errors: 403 when that is more than `status.hard`. */
function addUsage(
  attributes: AdmissionAttributes,
  quota: ResourceQuota,
  { added, names }: { readonly added: Cost; readonly names: readonly string[] },
): void {
  const quotaName = quota.metadata.name ?? '';
  const hard = quota.status?.hard ?? {};
  const used = quota.status?.used ?? {};
  const unknown = names.filter((name) => hard[name] === undefined);
  if (unknown.length > 0) {
    throw refusal(attributes, `status unknown for quota: ${quotaName}, resources: ${unknown.toSorted().join(',')}`);
  }
  const amount = (list: Readonly<Record<string, string>>, name: string): bigint => parseQuantity(list[name] ?? '0');
  const exceeded = names.filter((name) => amount(used, name) + (added[name] ?? 0n) > amount(hard, name)).toSorted();
  if (exceeded.length > 0) {
    const list = (text: (name: string) => string): string => exceeded.map((name) => `${name}=${text(name)}`).join(',');
    throw refusal(
      attributes,
      `exceeded quota: ${quotaName}, requested: ${list((name) => show(added[name] ?? 0n, hard[name]))}, used: ${list((name) => used[name] ?? '0')}, limited: ${list((name) => hard[name] ?? '0')}`,
    );
  }
  const after = names.map((name) => [name, show(amount(used, name) + (added[name] ?? 0n), used[name] ?? hard[name])]);
  quota.status = { ...quota.status, used: { ...used, ...(Object.fromEntries(after) as Record<string, string>) } };
}

function show(value: bigint, like: string | undefined): string {
  return format(value, like?.endsWith('i') === true ? 'BinarySI' : 'DecimalSI');
}

/** Only what costs more counts; giving back is the controller's recount. */
function difference(after: Cost, before: Cost): Cost {
  const entries = Object.entries(after).map(([name, cost]): [string, bigint] => [name, cost - (before[name] ?? 0n)]);
  return Object.fromEntries(entries.filter(([, cost]) => cost > 0n));
}

function requireStated(
  attributes: AdmissionAttributes,
  quota: ResourceQuota,
  hard: Readonly<Record<string, string>>,
): void {
  if (resourceName(attributes) !== 'pods' || attributes.operation !== 'CREATE') {
    return;
  }
  const { spec } = attributes.object as unknown as Pod;
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  const missing = Object.keys(hard)
    .filter((name) => stated.test(name))
    .toSorted()
    .flatMap((name) => {
      const lacking = containers.filter((container) => !states(container, name)).map((container) => container.name);
      return lacking.length === 0 ? [] : [`${name} for: ${lacking.toSorted().join(',')}`];
    });
  if (missing.length > 0) {
    throw refusal(attributes, `failed quota: ${quota.metadata.name}: must specify ${missing.join('; ')}`);
  }
}

function states({ resources }: Container, quotaName: string): boolean {
  const isLimit = quotaName.startsWith('limits.');
  const name = quotaName.replace(/^(requests|limits)\./, '');
  return (isLimit ? resources?.limits : resources?.requests)?.[name] !== undefined;
}

// SPDX-License-Identifier: Apache-2.0
// Fixtures for tests of declarations: the configuration, a request and a registry over plain objects.
import type { ResourcesConfig } from './config.ts';
import type { FieldError, KubeObject, Registry, RequestContext } from './definition.ts';

export const testConfig: ResourcesConfig = {
  serviceClusterIPRanges: ['10.96.0.0/24'],
  serviceNodePortRange: '30000-30127',
  kubelet: {},
  apiAudiences: ['https://kubernetes.default.svc'],
  mintToken: async ({ audiences }) => ({ token: audiences.join(','), expirationTimestamp: '2026-01-01T00:00:00Z' }),
  authenticateToken: async (token, audiences) =>
    token === 'good' ? { user: { name: 'ann', groups: ['dev'] }, audiences } : undefined,
  authorize: ({ user }) => ({ allowed: user.name === 'ann' }),
  rulesOf: () => ({ resourceRules: [], nonResourceRules: [], incomplete: false }),
};

/** Objects by resource; updates and deletes change the map. */
export function memoryRegistry(objects: Readonly<Record<string, readonly KubeObject[]>>): Registry {
  const stored = new Map(Object.entries(objects).map(([resource, list]) => [resource, [...list]]));
  const find = (resource: string, namespace: string | undefined, name: string): KubeObject | undefined =>
    (stored.get(resource) ?? []).find(
      ({ metadata }) => metadata.name === name && (metadata.namespace ?? '') === (namespace ?? ''),
    );
  const existing = (resource: string, namespace: string | undefined, name: string): KubeObject => {
    const found = find(resource, namespace, name);
    if (found === undefined) {
      throw new Error(`${resource} ${name} not found`);
    }
    return found;
  };
  return {
    get: find,
    list: (resource, namespace) =>
      (stored.get(resource) ?? []).filter(
        ({ metadata }) => namespace === undefined || metadata.namespace === namespace,
      ),
    async create(resource, object) {
      stored.set(resource, [...(stored.get(resource) ?? []), object]);
      return object;
    },
    async update(resource, namespace, name, mutate) {
      const old = existing(resource, namespace, name);
      const next = mutate(structuredClone(old)) ?? old;
      stored.set(
        resource,
        (stored.get(resource) ?? []).map((object) => (object === old ? next : object)),
      );
      return next;
    },
    async delete(resource, namespace, name) {
      const old = existing(resource, namespace, name);
      stored.set(
        resource,
        (stored.get(resource) ?? []).filter((object) => object !== old),
      );
      return old;
    },
    definition: () => undefined,
  };
}

export function testContext(
  registry: Registry = memoryRegistry({}),
  more: Partial<RequestContext> = {},
): RequestContext & { readonly warnings: string[] } {
  const warnings: string[] = [];
  return {
    user: { name: 'ann', groups: ['dev'] },
    verb: 'create',
    group: '',
    version: 'v1',
    resource: 'pods',
    dryRun: false,
    fieldManager: 'test',
    query: new URLSearchParams(),
    warn: (text) => void warnings.push(text),
    registry,
    warnings,
    ...more,
  };
}

/** `field: type` of each error, with the detail where that is what matters. */
export function told(errors: readonly FieldError[]): string[] {
  return errors.map(({ field, type, detail }) =>
    detail === '' ? `${field}: ${type}` : `${field}: ${type}: ${detail}`,
  );
}

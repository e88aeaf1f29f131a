// SPDX-License-Identifier: Apache-2.0
// What clients learn of the API from /api and /apis: the old documents, one per group version, and the aggregated ones (v2 and
// v2beta1). Pure functions of the definitions.
import type { ResourceDefinition, ResourceVersion } from '../resources/definition.ts';

const allVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const viewVerbs = ['get', 'patch', 'update'];

/** Groups in the order in which clients prefer them; others follow by name. */
const groupOrder = [
  '',
  'apiregistration.k8s.io',
  'apps',
  'events.k8s.io',
  'authentication.k8s.io',
  'authorization.k8s.io',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'networking.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'storage.k8s.io',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'scheduling.k8s.io',
  'coordination.k8s.io',
  'node.k8s.io',
  'discovery.k8s.io',
  'resource.k8s.io',
  'flowcontrol.apiserver.k8s.io',
];

export interface GroupVersions {
  readonly group: string;
  /** Preferred version first. */
  readonly versions: readonly string[];
}

/** A group version that another server answers for, with its entries of `/apis/<group>/<version>`. */
export interface RemoteVersion {
  readonly group: string;
  readonly version: string;
  readonly groupPriority: number;
  readonly versionPriority: number;
  readonly resources: readonly {
    readonly name: string;
    readonly singularName?: string;
    readonly namespaced?: boolean;
    readonly group?: string;
    readonly version?: string;
    readonly kind?: string;
    readonly verbs: readonly string[];
    readonly shortNames?: readonly string[];
    readonly categories?: readonly string[];
  }[];
}

/** Groups of this server, then those that only others have; versions likewise. */
function allGroups(definitions: readonly ResourceDefinition[], remote: readonly RemoteVersion[]): GroupVersions[] {
  const own = groupsOf(definitions);
  const ranked = remote.toSorted(
    (a, b) =>
      b.groupPriority - a.groupPriority || b.versionPriority - a.versionPriority || (a.group < b.group ? -1 : 1),
  );
  const versionsIn = (group: string): string[] =>
    ranked.filter((one) => one.group === group).map(({ version }) => version);
  const foreign = new Set(ranked.map(({ group }) => group));
  for (const { group } of own) {
    foreign.delete(group);
  }
  return [
    ...own.map(({ group, versions }) => ({ group, versions: [...new Set([...versions, ...versionsIn(group)])] })),
    ...[...foreign].map((group) => ({ group, versions: versionsIn(group) })),
  ];
}

/** All groups with their versions, in the order of discovery. */
export function groupsOf(definitions: readonly ResourceDefinition[]): GroupVersions[] {
  const groups = new Map<string, Set<string>>();
  for (const { group, versions } of definitions) {
    const known = groups.get(group) ?? new Set<string>();
    groups.set(group, known);
    for (const { version } of versions) {
      known.add(version);
    }
  }
  return [...groups]
    .map(([group, versions]) => ({ group, versions: [...versions].toSorted(compareVersions) }))
    .toSorted((a, b) => rank(a.group) - rank(b.group) || (a.group < b.group ? -1 : 1));
}

/** GA before beta before alpha, newer before older, then by name. */
export function compareVersions(a: string, b: string): number {
  const left = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(a);
  const right = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(b);
  if (left === null || right === null) {
    return left === null && right === null ? (a < b ? -1 : a > b ? 1 : 0) : left === null ? 1 : -1;
  }
  const stage = (match: RegExpExecArray) => (match[2] === undefined ? 2 : match[2] === 'beta' ? 1 : 0);
  return (
    stage(right) - stage(left) || Number(right[1]) - Number(left[1]) || Number(right[3] ?? 0) - Number(left[3] ?? 0)
  );
}

export function apiVersions(serverAddress: string): object {
  return {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress }],
  };
}

export function apiGroupList(definitions: readonly ResourceDefinition[], remote: readonly RemoteVersion[]): object {
  const groups = allGroups(definitions, remote).filter(({ group }) => group !== '');
  return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(groupDocument) };
}

/** Undefined for a group that is not served. */
export function apiGroup(
  definitions: readonly ResourceDefinition[],
  group: string,
  remote: readonly RemoteVersion[],
): object | undefined {
  const found = allGroups(definitions, remote).find((one) => one.group === group && group !== '');
  return found === undefined ? undefined : { kind: 'APIGroup', apiVersion: 'v1', ...groupDocument(found) };
}

function groupDocument({ group, versions }: GroupVersions): object {
  const documents = versions.map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions: documents, preferredVersion: documents[0] };
}

/** Undefined for a group version that is not served. */
export function apiResourceList(
  definitions: readonly ResourceDefinition[],
  group: string,
  version: string,
): object | undefined {
  const served = servedIn(definitions, group, version);
  if (served.length === 0) {
    return undefined;
  }
  const resources = served.flatMap(([definition]) => {
    const { plural, singular, namespaced, kind, shortNames, categories } = definition;
    const main = {
      name: plural,
      singularName: singular,
      namespaced,
      kind,
      verbs: verbsOf(definition),
      ...(shortNames === undefined ? {} : { shortNames }),
      ...(categories === undefined ? {} : { categories }),
    };
    const under = subresourcesOf(definition).map((one) => ({
      name: `${plural}/${one.name}`,
      singularName: '',
      namespaced,
      ...(one.group === group && one.version === version ? {} : { group: one.group, version: one.version }),
      kind: one.kind,
      verbs: one.verbs,
    }));
    return [main, ...under];
  });
  resources.sort((a, b) => (a.name < b.name ? -1 : 1));
  const groupVersion = group === '' ? version : `${group}/${version}`;
  return { kind: 'APIResourceList', ...(group === '' ? {} : { apiVersion: 'v1' }), groupVersion, resources };
}

/** The aggregated document of `/api` (core) or `/apis` (the other groups). */
export function aggregatedDiscovery(
  definitions: readonly ResourceDefinition[],
  version: 'v2' | 'v2beta1',
  { core, remote = [] }: { core: boolean; remote?: readonly RemoteVersion[] },
): object {
  const groups = allGroups(definitions, core ? [] : remote).filter(({ group }) => (group === '') === core);
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(({ group, versions }) => ({
      metadata: { name: group, creationTimestamp: null },
      versions: versions.map((one) => ({
        version: one,
        freshness: 'Current',
        resources: [
          ...servedIn(definitions, group, one).map(([definition]) => aggregatedResource(definition, one)),
          ...remote.filter((it) => it.group === group && it.version === one).flatMap(aggregatedRemote),
        ].toSorted((a, b) => (a.resource < b.resource ? -1 : 1)),
      })),
    })),
  };
}

function aggregatedResource(definition: ResourceDefinition, version: string): { resource: string } {
  const { group, plural, singular, namespaced, kind, shortNames, categories } = definition;
  const subresources = subresourcesOf(definition).map((one) => ({
    subresource: one.name,
    responseKind: {
      group: one.group ?? group,
      version: one.version ?? version,
      kind: one.kind,
    },
    verbs: one.verbs,
  }));
  return {
    resource: plural,
    responseKind: { group, version, kind },
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    verbs: verbsOf(definition),
    ...(shortNames === undefined ? {} : { shortNames }),
    ...(categories === undefined ? {} : { categories }),
    ...(subresources.length === 0 ? {} : { subresources }),
  } as { resource: string };
}

function aggregatedRemote({ group, version, resources }: RemoteVersion): { resource: string }[] {
  const responseKind = (one: RemoteVersion['resources'][number]): object => ({
    group: one.group ?? group,
    version: one.version ?? version,
    kind: one.kind ?? '',
  });
  return resources
    .filter(({ name }) => !name.includes('/'))
    .map((one) => {
      const under = resources.filter(({ name }) => name.startsWith(`${one.name}/`));
      return {
        resource: one.name,
        responseKind: responseKind(one),
        scope: one.namespaced === true ? 'Namespaced' : 'Cluster',
        singularResource: one.singularName ?? '',
        verbs: one.verbs,
        ...(one.shortNames === undefined ? {} : { shortNames: one.shortNames }),
        ...(one.categories === undefined ? {} : { categories: one.categories }),
        ...(under.length === 0
          ? {}
          : {
              subresources: under.map((sub) => ({
                subresource: sub.name.slice(one.name.length + 1),
                responseKind: responseKind(sub),
                verbs: sub.verbs,
              })),
            }),
      };
    });
}

interface Subresource {
  readonly name: string;
  readonly kind: string;
  readonly group?: string | undefined;
  readonly version?: string | undefined;
  readonly verbs: readonly string[];
}

function subresourcesOf(definition: ResourceDefinition): Subresource[] {
  const { kind } = definition;
  const list: Subresource[] = Object.entries(definition.subresources ?? {}).map(([name, one]) => ({
    name,
    kind: one.kind,
    group: one.group,
    version: one.version,
    verbs: one.verbs,
  }));
  for (const name of Object.keys(definition.views ?? {})) {
    list.push({ name, kind, verbs: viewVerbs });
  }
  if (definition.status !== undefined) {
    list.push({ name: 'status', kind, verbs: viewVerbs });
  }
  if (definition.scale !== undefined) {
    list.push({ name: 'scale', kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: viewVerbs });
  }
  return list.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function servedIn(
  definitions: readonly ResourceDefinition[],
  group: string,
  version: string,
): [ResourceDefinition, ResourceVersion][] {
  return definitions.flatMap((definition): [ResourceDefinition, ResourceVersion][] => {
    const served = definition.group === group ? definition.versions.find((one) => one.version === version) : undefined;
    return served === undefined ? [] : [[definition, served]];
  });
}

function verbsOf(definition: ResourceDefinition): readonly string[] {
  return definition.verbs ?? (definition.review === undefined ? allVerbs : ['create']);
}

function rank(group: string): number {
  const at = groupOrder.indexOf(group);
  return at < 0 ? groupOrder.length : at;
}

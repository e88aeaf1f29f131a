// SPDX-License-Identifier: Apache-2.0
// OpenAPI documents of the served API, made from the schema and the resource definitions when somebody asks. Nothing is
// cached here: the caller knows when the set of resources changes.
import { createHash } from 'node:crypto';
import type { ResourceDefinition, ResourceVersion } from '../resources/definition.ts';
import type { DocsData } from './data.ts';
import { resourcePaths } from './openapi-paths.ts';
import type { GroupVersionKind, Json } from './openapi-schemas.ts';
import { Definitions } from './openapi-schemas.ts';
import { definitionNames, typeByName } from './schema.ts';

export { encodeOpenapiV2 } from './openapi-protobuf.ts';

export interface OpenApiInfo {
  /** `v1.36.0` */
  readonly version: string;
}

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';

/** The swagger 2.0 document of `/openapi/v2`. Descriptions are loaded on the first call, hence the promise. */
export async function openapiV2(definitions: readonly ResourceDefinition[], info: OpenApiInfo): Promise<Json> {
  const docs = await loadDocs();
  const schemas = new Definitions('v2', docs, kindsByName(definitions));
  const paths: Json = {};
  for (const { definition, version } of servedVersions(definitions)) {
    Object.assign(paths, resourcePaths(definition, version, { definitions: schemas, docs }));
  }
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: info.version },
    paths: sorted(paths),
    definitions: schemas.finish(),
    securityDefinitions: {
      BearerToken: { description: 'Bearer Token authentication', in: 'header', name: 'authorization', type: 'apiKey' },
    },
    security: [{ BearerToken: [] }],
  };
}

/** `/openapi/v3`: `{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=..."}}}`. */
export async function openapiV3Index(definitions: readonly ResourceDefinition[], info: OpenApiInfo): Promise<Json> {
  const contents = new Map<string, string>();
  for (const { definition, version } of servedVersions(definitions)) {
    const path = groupVersionPath(definition.group, version.version);
    const custom = typeByName(version.schema)?.custom?.openapi;
    const content = [definition.plural, version.schema, custom === undefined ? '' : JSON.stringify(custom)];
    contents.set(path, `${contents.get(path) ?? info.version}\n${content.join(' ')}`);
  }
  const paths = Object.fromEntries(
    [...contents].map(([path, content]) => {
      const hash = createHash('sha512').update(content).digest('hex').slice(0, 64).toUpperCase();
      return [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` }];
    }),
  );
  return { paths: sorted(paths) };
}

/**
 * The document of one group and version; undefined when nothing is served there.
 * @param groupVersion `apps/v1`, or `v1` for core.
 */
export async function openapiV3(
  definitions: readonly ResourceDefinition[],
  groupVersion: string,
  info: OpenApiInfo,
): Promise<Json | undefined> {
  const [group, name] = groupVersion.includes('/') ? groupVersion.split('/') : ['', groupVersion];
  const served = servedVersions(definitions).filter(
    ({ definition, version }) => definition.group === group && version.version === name,
  );
  if (served.length === 0) return undefined;
  const docs = await loadDocs();
  const schemas = new Definitions('v3', docs, kindsByName(definitions));
  const paths: Json = {};
  for (const { definition, version } of served) {
    Object.assign(paths, resourcePaths(definition, version, { definitions: schemas, docs }));
  }
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: info.version },
    paths: sorted(paths),
    components: {
      schemas: schemas.finish(),
      securitySchemes: {
        BearerToken: {
          description: 'Bearer Token authentication',
          in: 'header',
          name: 'authorization',
          type: 'apiKey',
        },
      },
    },
  };
}

async function loadDocs(): Promise<DocsData> {
  const [generated, extra] = await Promise.all([
    import('./docs.json', { with: { type: 'json' } }),
    import('./docs-extra.json', { with: { type: 'json' } }),
  ]);
  return { ...(generated.default as unknown as DocsData), ...(extra.default as unknown as DocsData) };
}

function servedVersions(
  definitions: readonly ResourceDefinition[],
): Array<{ definition: ResourceDefinition; version: ResourceVersion }> {
  return definitions.flatMap((definition) => definition.versions.map((version) => ({ definition, version })));
}

/** Which kinds a definition stands for. DeleteOptions and the like belong to every group and version that is served. */
function kindsByName(definitions: readonly ResourceDefinition[]): ReadonlyMap<string, readonly GroupVersionKind[]> {
  const kinds = new Map<string, GroupVersionKind[]>();
  for (const { name, group, version } of definitionNames()) {
    const kind = name.slice(name.lastIndexOf('.') + 1);
    if (group === 'meta.k8s.io' || typeByName(name)?.object !== true) continue;
    kinds.set(name, [{ group, version, kind }]);
  }
  const served = new Map<string, { group: string; version: string }>();
  for (const { definition, version } of servedVersions(definitions)) {
    served.set(`${definition.group}/${version.version}`, { group: definition.group, version: version.version });
    const custom = typeByName(version.schema)?.custom;
    if (custom === undefined) continue;
    const own = { group: custom.group, version: custom.version };
    kinds.set(version.schema, [{ ...own, kind: custom.kind }]);
    kinds.set(`${version.schema}List`, [{ ...own, kind: custom.listKind }]);
  }
  for (const kind of ['DeleteOptions', 'WatchEvent']) {
    kinds.set(
      `${META}.${kind}`,
      [...served.values()].map(({ group, version }) => ({ group, version, kind })),
    );
  }
  kinds.set(`${META}.Status`, [{ group: '', version: 'v1', kind: 'Status' }]);
  return kinds;
}

function groupVersionPath(group: string, version: string): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

function sorted(object: Json): Json {
  return Object.fromEntries(Object.entries(object).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

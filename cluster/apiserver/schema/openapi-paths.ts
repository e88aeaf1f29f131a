// SPDX-License-Identifier: Apache-2.0
// Paths and operations of the OpenAPI documents, made from the resource definitions.
import type { ResourceDefinition, ResourceVersion } from '../resources/definition.ts';
import type { DocsData } from './data.ts';
import type { Definitions, GroupVersionKind, Json } from './openapi-schemas.ts';
import { definitionOfKind, typeByName } from './schema.ts';

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const MEDIA_TYPES = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];
const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];
const ALL_VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

type Operation = 'list' | 'create' | 'deletecollection' | 'get' | 'update' | 'patch' | 'delete';

/** HTTP method, name of the operation in its id, `x-kubernetes-action`, and how its description begins. */
const OPERATIONS: Readonly<Record<Operation, readonly [string, string, string, string]>> = {
  list: ['get', 'list', 'list', 'list or watch objects of kind'],
  create: ['post', 'create', 'post', 'create a'],
  deletecollection: ['delete', 'delete', 'deletecollection', 'delete collection of'],
  get: ['get', 'read', 'get', 'read the specified'],
  update: ['put', 'replace', 'put', 'replace the specified'],
  patch: ['patch', 'patch', 'patch', 'partially update the specified'],
  delete: ['delete', 'delete', 'delete', 'delete a'],
};

const QUERY: Readonly<Record<Operation, readonly string[]>> = {
  list: [
    'allowWatchBookmarks',
    'continue',
    'fieldSelector',
    'labelSelector',
    'limit',
    'resourceVersion',
    'resourceVersionMatch',
    'sendInitialEvents',
    'timeoutSeconds',
    'watch',
  ],
  create: ['dryRun', 'fieldManager', 'fieldValidation'],
  deletecollection: [
    'continue',
    'dryRun',
    'fieldSelector',
    'gracePeriodSeconds',
    'labelSelector',
    'limit',
    'orphanDependents',
    'propagationPolicy',
    'resourceVersion',
    'resourceVersionMatch',
  ],
  get: [],
  update: ['dryRun', 'fieldManager', 'fieldValidation'],
  patch: ['dryRun', 'fieldManager', 'fieldValidation', 'force'],
  delete: ['dryRun', 'gracePeriodSeconds', 'orphanDependents', 'propagationPolicy'],
};

interface Endpoint {
  readonly path: string;
  readonly operations: readonly Operation[];
  readonly kind: GroupVersionKind;
  readonly schema: string;
  readonly namespaced: boolean;
  /** Suffix of operation ids: `PodStatus`. */
  readonly idSuffix: string;
  readonly groupVersion: string;
  readonly custom: boolean;
}

/** Path items of one resource in one version; the schemas that they need are asked of `definitions`. */
export function resourcePaths(
  definition: ResourceDefinition,
  version: ResourceVersion,
  { definitions, docs }: { definitions: Definitions; docs: DocsData },
): Json {
  const items: Json = {};
  for (const endpoint of endpointsOf(definition, version)) {
    const item: Json = (items[endpoint.path] as Json | undefined) ?? {
      parameters: pathParameters(endpoint, definitions),
    };
    for (const operation of endpoint.operations) {
      item[OPERATIONS[operation][0]] = describe(operation, endpoint, { definitions, docs });
    }
    items[endpoint.path] = item;
  }
  return items;
}

function endpointsOf(definition: ResourceDefinition, version: ResourceVersion): Endpoint[] {
  const { group, plural, kind, namespaced } = definition;
  const verbs = definition.verbs ?? ALL_VERBS;
  const root = group === '' ? `/api/${version.version}` : `/apis/${group}/${version.version}`;
  const collection = namespaced ? `${root}/namespaces/{namespace}/${plural}` : `${root}/${plural}`;
  const item = `${collection}/{name}`;
  const common = {
    kind: { group, version: version.version, kind },
    schema: version.schema,
    namespaced,
    groupVersion: groupVersionId(group, version.version),
    custom: definition.custom === true,
  };
  const having = (...wanted: Operation[]): Operation[] => wanted.filter((operation) => verbs.includes(operation));
  const endpoints: Endpoint[] = [
    { ...common, path: collection, operations: having('list', 'create', 'deletecollection'), idSuffix: kind },
    { ...common, path: item, operations: having('get', 'update', 'patch', 'delete'), idSuffix: kind },
  ];
  if (namespaced && verbs.includes('list')) {
    const idSuffix = `${kind}ForAllNamespaces`;
    endpoints.push({ ...common, path: `${root}/${plural}`, operations: ['list'], idSuffix, namespaced: false });
  }
  const views = [...(definition.status === undefined ? [] : ['status']), ...Object.keys(definition.views ?? {})];
  for (const view of views) {
    endpoints.push({
      ...common,
      path: `${item}/${view}`,
      operations: ['get', 'update', 'patch'],
      idSuffix: `${kind}${capitalise(view)}`,
    });
  }
  if (definition.scale !== undefined) {
    endpoints.push({
      ...common,
      path: `${item}/scale`,
      operations: ['get', 'update', 'patch'],
      kind: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      schema: 'io.k8s.api.autoscaling.v1.Scale',
      idSuffix: `${kind}Scale`,
    });
  }
  for (const [name, sub] of Object.entries(definition.subresources ?? {})) {
    const subKind = { group: sub.group ?? group, version: sub.version ?? version.version, kind: sub.kind };
    endpoints.push({
      ...common,
      path: `${item}/${name}`,
      operations: (['get', 'create', 'update', 'patch', 'delete'] as const).filter((verb) => sub.verbs.includes(verb)),
      kind: subKind,
      schema: definitionOfKind(subKind.group, subKind.version, sub.kind) ?? version.schema,
      idSuffix: `${kind}${capitalise(name)}`,
    });
  }
  return endpoints.filter((endpoint) => endpoint.operations.length > 0);
}

function describe(
  operation: Operation,
  endpoint: Endpoint,
  { definitions, docs }: { definitions: Definitions; docs: DocsData },
): Json {
  const [, verb, action, text] = OPERATIONS[operation];
  const v2 = definitions.dialect === 'v2';
  const result = operation === 'list' ? listOf(endpoint.schema) : endpoint.schema;
  const answer = operation === 'delete' || operation === 'deletecollection' ? `${META}.Status` : result;
  const body = bodyOf(operation, endpoint);
  const query = QUERY[operation].map((name) => queryParameter(name, docs, definitions.dialect));
  const codes =
    operation === 'create'
      ? ['200', '201', '202']
      : operation === 'update' || operation === 'patch'
        ? ['200', '201']
        : operation === 'delete'
          ? ['200', '202']
          : ['200'];
  const schema = definitions.ref(answer);
  const success = v2
    ? { description: 'OK', schema }
    : { description: 'OK', content: Object.fromEntries(MEDIA_TYPES.map((type) => [type, { schema }])) };
  const response = Object.fromEntries([
    ...codes.map((code) => [code, success]),
    ['401', { description: 'Unauthorized' }],
  ]);
  const patchTypes = endpoint.custom ? PATCH_TYPES.filter((type) => !type.includes('strategic')) : PATCH_TYPES;
  const bodyTypes = operation === 'patch' ? patchTypes : ['*/*'];
  return {
    description: `${text} ${endpoint.idSuffix}`,
    operationId: [
      verb,
      endpoint.groupVersion,
      operation === 'deletecollection' ? 'Collection' : '',
      endpoint.namespaced ? 'Namespaced' : '',
      endpoint.idSuffix,
    ].join(''),
    tags: [lowerFirst(endpoint.groupVersion)],
    ...(v2 ? { consumes: bodyTypes, produces: MEDIA_TYPES, schemes: ['https'] } : {}),
    ...(body === undefined || v2
      ? {}
      : {
          requestBody: {
            content: Object.fromEntries(bodyTypes.map((type) => [type, { schema: definitions.ref(body) }])),
          },
        }),
    ...(query.length === 0 && (body === undefined || !v2)
      ? {}
      : {
          parameters: [
            ...(body === undefined || !v2
              ? []
              : [{ in: 'body', name: 'body', required: operation !== 'delete', schema: definitions.ref(body) }]),
            ...query,
          ],
        }),
    responses: response,
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': endpoint.kind,
  };
}

function bodyOf(operation: Operation, endpoint: Endpoint): string | undefined {
  if (operation === 'create' || operation === 'update') return endpoint.schema;
  if (operation === 'patch') return `${META}.Patch`;
  return operation === 'delete' || operation === 'deletecollection' ? `${META}.DeleteOptions` : undefined;
}

function listOf(schema: string): string {
  const type = typeByName(schema);
  return type?.custom !== undefined || typeByName(`${schema}List`) !== undefined ? `${schema}List` : schema;
}

const QUERY_TYPES: Readonly<Record<string, string>> = {
  allowWatchBookmarks: 'boolean',
  force: 'boolean',
  gracePeriodSeconds: 'integer',
  limit: 'integer',
  orphanDependents: 'boolean',
  sendInitialEvents: 'boolean',
  timeoutSeconds: 'integer',
  watch: 'boolean',
};
const OPTION_KINDS = ['ListOptions', 'PatchOptions', 'DeleteOptions'];

function queryParameter(name: string, docs: DocsData, dialect: 'v2' | 'v3'): Json {
  const type = QUERY_TYPES[name] ?? 'string';
  const description = OPTION_KINDS.map((kind) => docs[`${META}.${kind}`]?.[1][name]).find((text) => text !== undefined);
  return {
    name,
    in: 'query',
    ...(description === undefined ? {} : { description }),
    ...(dialect === 'v2' ? { type, uniqueItems: true } : { schema: { type, uniqueItems: true } }),
  };
}

function pathParameters(endpoint: Endpoint, definitions: Definitions): Json[] {
  const names = [...endpoint.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  const text: Readonly<Record<string, string>> = {
    name: `name of the ${endpoint.idSuffix}`,
    namespace: 'object name and auth scope, such as for teams and projects',
  };
  const typed =
    definitions.dialect === 'v2'
      ? { type: 'string', uniqueItems: true }
      : { schema: { type: 'string', uniqueItems: true } };
  return [
    ...names.map((name) => ({ name, in: 'path', description: text[name] ?? name, required: true, ...typed })),
    { name: 'pretty', in: 'query', description: "If 'true', then the output is pretty printed.", ...typed },
  ];
}

/** `('rbac.authorization.k8s.io', 'v1')` -> `RbacAuthorizationV1`. */
function groupVersionId(group: string, version: string): string {
  const name = group === '' ? 'core' : group.replace(/\.k8s\.io$/, '');
  return [...name.split(/[.-]/), version].map(capitalise).join('');
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

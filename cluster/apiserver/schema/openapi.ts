// SPDX-License-Identifier: Apache-2.0
// OpenAPI documents of the served API, made from the schema and the resource definitions.
import type { ResourceDefinition } from '../resources/definition.ts';

export interface OpenApiInfo {
  /** `v1.36.0` */
  readonly version: string;
}

/** The swagger 2.0 document of `/openapi/v2`. Descriptions are loaded on the first call, hence the promise. */
export async function openapiV2(definitions: readonly ResourceDefinition[], info: OpenApiInfo): Promise<object> {
  return { swagger: '2.0', info: { title: 'Kubernetes', version: info.version }, definitions: definitions.length };
}

/** `/openapi/v3`: `{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=..."}}}`. */
export async function openapiV3Index(definitions: readonly ResourceDefinition[], info: OpenApiInfo): Promise<object> {
  return { paths: {}, info, definitions };
}

/**
 * `/openapi/v3/apis/apps/v1`; undefined when nothing is served there.
 * @param groupVersion `apps/v1`, or `v1` for core.
 */
export async function openapiV3(
  definitions: readonly ResourceDefinition[],
  groupVersion: string,
  info: OpenApiInfo,
): Promise<object | undefined> {
  return { openapi: '3.0.0', info, groupVersion, definitions };
}

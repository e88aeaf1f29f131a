// SPDX-License-Identifier: Apache-2.0
// What plugins ask of a request again and again, and how they refuse it.
import type { Pod } from '../../machinery/api-types.ts';
import type { AdmissionAttributes, KubeObject } from '../resources/definition.ts';
import { forbidden, type StatusError } from '../status.ts';

/** 403 `pods "web" is forbidden: <why>`. */
export function refusal(attributes: AdmissionAttributes, why: string): StatusError {
  return forbidden(attributes.definition, objectName(attributes), why);
}

/** The name, or what it will be generated from. */
export function objectName({ context, object, old }: AdmissionAttributes): string {
  const metadata = (object ?? old)?.metadata;
  const candidates = [metadata?.name, context.name, metadata?.generateName];
  return candidates.find((name) => name !== undefined && name !== '') ?? 'Unknown';
}

export function namespaceOf({ context, object, old }: AdmissionAttributes): string {
  return (object ?? old)?.metadata.namespace ?? context.namespace ?? '';
}

/** `pods`, `deployments.apps`. */
export function resourceName({ definition }: AdmissionAttributes): string {
  return definition.group === '' ? definition.plural : `${definition.plural}.${definition.group}`;
}

export function isFor(attributes: AdmissionAttributes, resource: string): boolean {
  return (
    resourceName(attributes) === resource &&
    (attributes.context.subresource === undefined || attributes.context.subresource === '')
  );
}

/** The pod that is about to be created; undefined for every other request. */
export function createdPod(attributes: AdmissionAttributes): Pod | undefined {
  return attributes.operation === 'CREATE' && isFor(attributes, 'pods')
    ? (attributes.object as unknown as Pod | undefined)
    : undefined;
}

/** Plugins change the object in place: it takes over everything that `next` has, and loses the rest. */
export function replaceObject(object: KubeObject, next: KubeObject): void {
  if (object === next) {
    return;
  }
  for (const key of Object.keys(object)) {
    if (!(key in next)) {
      delete object[key];
    }
  }
  Object.assign(object, next);
}

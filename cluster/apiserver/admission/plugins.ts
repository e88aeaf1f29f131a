// SPDX-License-Identifier: Apache-2.0
// The admission plugins of the API server, in the order in which they run.
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';

export interface AdmissionConfig {
  readonly authorize: (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;
}

export function admissionPlugins(_config: AdmissionConfig): readonly AdmissionPlugin[] {
  return [];
}

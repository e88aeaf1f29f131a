// SPDX-License-Identifier: Apache-2.0
// The admission plugins of the API server, in the order in which they run.
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { priority } from './priority.ts';
import { defaultTolerationSeconds, runtimeClass, taintNodesByCondition } from './scheduling-defaults.ts';
import { serviceAccount } from './service-account.ts';
import {
  defaultIngressClass,
  defaultStorageClass,
  persistentVolumeClaimResize,
  storageObjectInUseProtection,
} from './storage-defaults.ts';

export interface AdmissionConfig {
  readonly authorize: (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;
}

export function admissionPlugins(_config: AdmissionConfig): readonly AdmissionPlugin[] {
  return [
    namespaceLifecycle,
    serviceAccount,
    taintNodesByCondition,
    priority,
    defaultTolerationSeconds,
    storageObjectInUseProtection,
    persistentVolumeClaimResize,
    runtimeClass,
    defaultIngressClass,
    defaultStorageClass,
  ];
}

// SPDX-License-Identifier: Apache-2.0
// The admission plugins of the API server, in the order in which they run.
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { podSecurity } from './pod-security.ts';
import { priority } from './priority.ts';
import { resourceQuota } from './resource-quota.ts';
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
    limitRanger,
    serviceAccount,
    taintNodesByCondition,
    podSecurity,
    priority,
    defaultTolerationSeconds,
    storageObjectInUseProtection,
    persistentVolumeClaimResize,
    runtimeClass,
    defaultIngressClass,
    defaultStorageClass,
    // Last: what others refuse must not be charged.
    resourceQuota,
  ];
}

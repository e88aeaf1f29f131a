// SPDX-License-Identifier: Apache-2.0
// The admission plugins of the API server, in the order in which they run.
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import { validatingAdmissionPolicies } from '../extensions/admission-policies.ts';
import { mutatingAdmissionPolicies } from '../extensions/mutating-policies.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';
import { certificateApproval, certificateSigning, certificateSubjectRestriction } from './certificates.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodeRestriction } from './node-restriction.ts';
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
import { mutatingWebhooks, validatingWebhooks } from './webhooks.ts';

export interface AdmissionConfig {
  readonly authorize: (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;
}

export function admissionPlugins(config: AdmissionConfig): readonly AdmissionPlugin[] {
  return [
    namespaceLifecycle,
    limitRanger,
    serviceAccount,
    nodeRestriction,
    taintNodesByCondition,
    podSecurity,
    priority,
    defaultTolerationSeconds,
    storageObjectInUseProtection,
    persistentVolumeClaimResize,
    runtimeClass,
    certificateApproval(config.authorize),
    certificateSigning(config.authorize),
    certificateSubjectRestriction,
    defaultIngressClass,
    defaultStorageClass,
    mutatingAdmissionPolicies,
    mutatingWebhooks,
    validatingAdmissionPolicies,
    validatingWebhooks,
    // Last: what others refuse must not be charged.
    resourceQuota,
  ];
}

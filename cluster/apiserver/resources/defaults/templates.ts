// SPDX-License-Identifier: Apache-2.0
// Defaults of pod templates and volume claims inside workloads.
import type { PersistentVolumeClaim, PodTemplateSpec } from '../../../machinery/api-types.ts';
import { defaultPodSpec } from './pod-spec.ts';

export function defaultTemplate(template: PodTemplateSpec | undefined): void {
  if (template?.spec !== undefined) {
    defaultPodSpec(template.spec);
  }
}

/** Claim templates show their kind and an empty status, as upstream stores them. */
export function defaultClaimTemplate(claim: PersistentVolumeClaim): void {
  claim.metadata ??= {};
  claim.apiVersion ??= 'v1';
  claim.kind ??= 'PersistentVolumeClaim';
  if (claim.spec !== undefined) {
    claim.spec.volumeMode ??= 'Filesystem';
  }
  claim.status ??= { phase: 'Pending' };
}

// SPDX-License-Identifier: Apache-2.0
// All controllers of the process, and which of them `--controllers` selects.
import type { Controller } from './controller.ts';
import { daemonSetController } from './daemonset/controller.ts';
import { deploymentController } from './deployment/controller.ts';
import { endpointsController } from './endpoints/controller.ts';
import { endpointSliceController } from './endpointslice/controller.ts';
import { endpointSliceMirroringController } from './endpointslice/mirroring.ts';
import { garbageCollectorController } from './garbage-collector/controller.ts';
import { jobController } from './job/controller.ts';
import { namespaceController } from './namespace/controller.ts';
import { nodeIpamController } from './node-ipam/controller.ts';
import { nodeLifecycleController } from './node-lifecycle/controller.ts';
import { taintEvictionController } from './node-lifecycle/eviction.ts';
import { podGcController } from './pod-gc/controller.ts';
import { replicaSetController, replicationControllerController } from './replicaset/controller.ts';
import { statefulSetController } from './statefulset/controller.ts';
import { rootCaController, serviceAccountController } from './serviceaccount/controller.ts';
import { attachDetachController } from './attach-detach/controller.ts';
import { csrApprovingController, csrCleanerController, csrSigningController } from './certificates/controller.ts';
import { serviceCidrController } from './service-cidr/controller.ts';
import { serviceLoadBalancerController } from './service-load-balancer/controller.ts';
import { serviceAccountTokenController } from './serviceaccount/tokens.ts';
import { clusterRoleAggregationController } from './clusterrole-aggregation/controller.ts';
import { cronJobController } from './cronjob/controller.ts';
import { disruptionController } from './disruption/controller.ts';
import { ephemeralVolumeController } from './ephemeral-volume/controller.ts';
import { persistentVolumeBinderController } from './persistent-volume/controller.ts';
import { volumeExpandController } from './persistent-volume/expand.ts';
import { claimProtectionController, volumeProtectionController } from './protection/controller.ts';
import { resourceQuotaController } from './resource-quota/controller.ts';
import { ttlAfterFinishedController } from './ttl/controller.ts';

export const controllers: readonly Controller[] = [
  namespaceController,
  serviceAccountController,
  rootCaController,
  nodeIpamController,
  nodeLifecycleController,
  taintEvictionController,
  deploymentController,
  replicaSetController,
  replicationControllerController,
  endpointsController,
  endpointSliceController,
  endpointSliceMirroringController,
  daemonSetController,
  garbageCollectorController,
  podGcController,
  statefulSetController,
  jobController,
  persistentVolumeBinderController,
  volumeExpandController,
  claimProtectionController,
  volumeProtectionController,
  attachDetachController,
  ephemeralVolumeController,
  resourceQuotaController,
  disruptionController,
  cronJobController,
  ttlAfterFinishedController,
  clusterRoleAggregationController,
  csrApprovingController,
  csrSigningController,
  csrCleanerController,
  serviceAccountTokenController,
  serviceLoadBalancerController,
  serviceCidrController,
];

/**
 * `*` is all, `name` adds one, `-name` leaves one out; the `-controller` at the end may be omitted, as in old releases.
 * Errors: a name that no controller has.
 */
export function selectControllers(names: readonly string[], all: readonly Controller[] = controllers): Controller[] {
  const matches = (controller: Controller, name: string): boolean =>
    controller.name === name || controller.name === `${name}-controller`;
  for (const entry of names) {
    const name = entry.replace(/^-/, '');
    if (name !== '*' && !all.some((controller) => matches(controller, name))) {
      throw new Error(
        `--controllers: there is no "${name}"; there are ${all.map((controller) => controller.name).join(', ')}`,
      );
    }
  }
  return all.filter((controller) => {
    if (names.some((name) => name.startsWith('-') && matches(controller, name.slice(1)))) return false;
    return names.some((name) => name === '*' || matches(controller, name));
  });
}

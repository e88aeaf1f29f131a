// SPDX-License-Identifier: Apache-2.0
// Every built-in resource of the API server, in the order of discovery.
import { mutatingAdmissionPolicies } from './admissionregistration/mutating-admission-policies.ts';
import { mutatingAdmissionPolicyBindings } from './admissionregistration/mutating-admission-policy-bindings.ts';
import { mutatingWebhookConfigurations } from './admissionregistration/mutating-webhook-configurations.ts';
import { validatingAdmissionPolicies } from './admissionregistration/validating-admission-policies.ts';
import { validatingAdmissionPolicyBindings } from './admissionregistration/validating-admission-policy-bindings.ts';
import { validatingWebhookConfigurations } from './admissionregistration/validating-webhook-configurations.ts';
import { customResourceDefinitions } from './apiextensions/custom-resource-definitions.ts';
import { apiServices } from './apiregistration/api-services.ts';
import { controllerRevisions } from './apps/controller-revisions.ts';
import { daemonSets } from './apps/daemon-sets.ts';
import { deployments } from './apps/deployments.ts';
import { replicaSets } from './apps/replica-sets.ts';
import { statefulSets } from './apps/stateful-sets.ts';
import { selfSubjectReviews } from './authentication/self-subject-reviews.ts';
import { tokenReviews } from './authentication/token-reviews.ts';
import {
  localSubjectAccessReviews,
  selfSubjectAccessReviews,
  subjectAccessReviews,
} from './authorization/access-reviews.ts';
import { selfSubjectRulesReviews } from './authorization/self-subject-rules-reviews.ts';
import { horizontalPodAutoscalers } from './autoscaling/horizontal-pod-autoscalers.ts';
import { cronJobs } from './batch/cron-jobs.ts';
import { jobs } from './batch/jobs.ts';
import { certificateSigningRequests } from './certificates/certificate-signing-requests.ts';
import { leases } from './coordination/leases.ts';
import { bindings } from './core/bindings.ts';
import { componentStatuses } from './core/component-statuses.ts';
import { configMaps } from './core/config-maps.ts';
import { endpoints } from './core/endpoints.ts';
import { events } from './core/events.ts';
import { limitRanges } from './core/limit-ranges.ts';
import { namespaces } from './core/namespaces.ts';
import { nodes } from './core/nodes.ts';
import { persistentVolumeClaims } from './core/persistent-volume-claims.ts';
import { persistentVolumes } from './core/persistent-volumes.ts';
import { podTemplates } from './core/pod-templates.ts';
import { pods } from './core/pods.ts';
import { replicationControllers } from './core/replication-controllers.ts';
import { resourceQuotas } from './core/resource-quotas.ts';
import { secrets } from './core/secrets.ts';
import { serviceAccounts } from './core/service-accounts.ts';
import { services } from './core/services.ts';
import { endpointSlices } from './discovery/endpoint-slices.ts';
import { eventsV1 } from './events/events.ts';
import { flowSchemas } from './flowcontrol/flow-schemas.ts';
import { priorityLevelConfigurations } from './flowcontrol/priority-level-configurations.ts';
import { ingressClasses } from './networking/ingress-classes.ts';
import { ingresses } from './networking/ingresses.ts';
import { ipAddresses } from './networking/ip-addresses.ts';
import { networkPolicies } from './networking/network-policies.ts';
import { serviceCIDRs } from './networking/service-cidrs.ts';
import { runtimeClasses } from './node/runtime-classes.ts';
import { podDisruptionBudgets } from './policy/pod-disruption-budgets.ts';
import { clusterRoleBindings } from './rbac/cluster-role-bindings.ts';
import { clusterRoles } from './rbac/cluster-roles.ts';
import { roleBindings } from './rbac/role-bindings.ts';
import { roles } from './rbac/roles.ts';
import { deviceClasses } from './resource/device-classes.ts';
import { resourceClaimTemplates } from './resource/resource-claim-templates.ts';
import { resourceClaims } from './resource/resource-claims.ts';
import { resourceSlices } from './resource/resource-slices.ts';
import { priorityClasses } from './scheduling/priority-classes.ts';
import { csiDrivers } from './storage/csi-drivers.ts';
import { csiNodes } from './storage/csi-nodes.ts';
import { csiStorageCapacities } from './storage/csi-storage-capacities.ts';
import { storageClasses } from './storage/storage-classes.ts';
import { volumeAttachments } from './storage/volume-attachments.ts';
import { volumeAttributesClasses } from './storage/volume-attributes-classes.ts';
import type { ResourcesConfig } from './config.ts';
import type { ResourceDefinition } from './definition.ts';

/** The declarations, wired to what they need from the running server. */
export function createDefinitions(config: ResourcesConfig): readonly ResourceDefinition[] {
  return [
    bindings,
    componentStatuses,
    configMaps,
    endpoints,
    events,
    limitRanges,
    namespaces,
    nodes(config),
    persistentVolumeClaims,
    persistentVolumes,
    podTemplates,
    pods(config),
    replicationControllers,
    resourceQuotas,
    secrets,
    serviceAccounts(config),
    services(config),
    controllerRevisions,
    daemonSets,
    deployments,
    replicaSets,
    statefulSets,
    cronJobs,
    jobs,
    horizontalPodAutoscalers,
    ingressClasses,
    ingresses,
    ipAddresses,
    networkPolicies,
    serviceCIDRs,
    endpointSlices,
    podDisruptionBudgets,
    clusterRoleBindings,
    clusterRoles,
    roleBindings,
    roles,
    csiDrivers,
    csiNodes,
    csiStorageCapacities,
    storageClasses,
    volumeAttachments,
    volumeAttributesClasses,
    priorityClasses,
    leases,
    runtimeClasses,
    certificateSigningRequests,
    eventsV1,
    mutatingAdmissionPolicies,
    mutatingAdmissionPolicyBindings,
    mutatingWebhookConfigurations,
    validatingAdmissionPolicies,
    validatingAdmissionPolicyBindings,
    validatingWebhookConfigurations,
    selfSubjectReviews,
    tokenReviews(config),
    subjectAccessReviews(config),
    localSubjectAccessReviews(config),
    selfSubjectAccessReviews(config),
    selfSubjectRulesReviews(config),
    customResourceDefinitions,
    apiServices,
    flowSchemas,
    priorityLevelConfigurations,
    deviceClasses,
    resourceClaimTemplates,
    resourceClaims,
    resourceSlices,
  ];
}

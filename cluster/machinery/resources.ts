// SPDX-License-Identifier: Apache-2.0
// Names of every built-in resource of the API, so that nobody spells a group, version or plural by hand.

export interface Resource {
  /** API group; the empty string is core. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

const define = (group: string, version: string, namespaced: boolean) => (plural: string, kind: string) =>
  ({ group, version, plural, kind, namespaced }) as const satisfies Resource;

const core = define('', 'v1', true);
const coreCluster = define('', 'v1', false);
const apps = define('apps', 'v1', true);
const batch = define('batch', 'v1', true);
const networking = define('networking.k8s.io', 'v1', true);
const networkingCluster = define('networking.k8s.io', 'v1', false);
const rbac = define('rbac.authorization.k8s.io', 'v1', true);
const rbacCluster = define('rbac.authorization.k8s.io', 'v1', false);
const storage = define('storage.k8s.io', 'v1', true);
const storageCluster = define('storage.k8s.io', 'v1', false);
const admission = define('admissionregistration.k8s.io', 'v1', false);
const flowcontrol = define('flowcontrol.apiserver.k8s.io', 'v1', false);
const authentication = define('authentication.k8s.io', 'v1', false);
const authorization = define('authorization.k8s.io', 'v1', false);
const dynamic = define('resource.k8s.io', 'v1', true);
const dynamicCluster = define('resource.k8s.io', 'v1', false);

export const resources = {
  pods: core('pods', 'Pod'),
  services: core('services', 'Service'),
  endpoints: core('endpoints', 'Endpoints'),
  configMaps: core('configmaps', 'ConfigMap'),
  secrets: core('secrets', 'Secret'),
  serviceAccounts: core('serviceaccounts', 'ServiceAccount'),
  persistentVolumeClaims: core('persistentvolumeclaims', 'PersistentVolumeClaim'),
  replicationControllers: core('replicationcontrollers', 'ReplicationController'),
  resourceQuotas: core('resourcequotas', 'ResourceQuota'),
  limitRanges: core('limitranges', 'LimitRange'),
  podTemplates: core('podtemplates', 'PodTemplate'),
  bindings: core('bindings', 'Binding'),
  coreEvents: core('events', 'Event'),
  nodes: coreCluster('nodes', 'Node'),
  namespaces: coreCluster('namespaces', 'Namespace'),
  persistentVolumes: coreCluster('persistentvolumes', 'PersistentVolume'),
  componentStatuses: coreCluster('componentstatuses', 'ComponentStatus'),

  deployments: apps('deployments', 'Deployment'),
  replicaSets: apps('replicasets', 'ReplicaSet'),
  statefulSets: apps('statefulsets', 'StatefulSet'),
  daemonSets: apps('daemonsets', 'DaemonSet'),
  controllerRevisions: apps('controllerrevisions', 'ControllerRevision'),

  jobs: batch('jobs', 'Job'),
  cronJobs: batch('cronjobs', 'CronJob'),

  networkPolicies: networking('networkpolicies', 'NetworkPolicy'),
  ingresses: networking('ingresses', 'Ingress'),
  ingressClasses: networkingCluster('ingressclasses', 'IngressClass'),
  ipAddresses: networkingCluster('ipaddresses', 'IPAddress'),
  serviceCIDRs: networkingCluster('servicecidrs', 'ServiceCIDR'),

  endpointSlices: define('discovery.k8s.io', 'v1', true)('endpointslices', 'EndpointSlice'),
  podDisruptionBudgets: define('policy', 'v1', true)('poddisruptionbudgets', 'PodDisruptionBudget'),

  roles: rbac('roles', 'Role'),
  roleBindings: rbac('rolebindings', 'RoleBinding'),
  clusterRoles: rbacCluster('clusterroles', 'ClusterRole'),
  clusterRoleBindings: rbacCluster('clusterrolebindings', 'ClusterRoleBinding'),

  storageClasses: storageCluster('storageclasses', 'StorageClass'),
  volumeAttachments: storageCluster('volumeattachments', 'VolumeAttachment'),
  csiDrivers: storageCluster('csidrivers', 'CSIDriver'),
  csiNodes: storageCluster('csinodes', 'CSINode'),
  csiStorageCapacities: storage('csistoragecapacities', 'CSIStorageCapacity'),
  volumeAttributesClasses: storageCluster('volumeattributesclasses', 'VolumeAttributesClass'),

  priorityClasses: define('scheduling.k8s.io', 'v1', false)('priorityclasses', 'PriorityClass'),
  leases: define('coordination.k8s.io', 'v1', true)('leases', 'Lease'),
  runtimeClasses: define('node.k8s.io', 'v1', false)('runtimeclasses', 'RuntimeClass'),
  certificateSigningRequests: define(
    'certificates.k8s.io',
    'v1',
    false,
  )('certificatesigningrequests', 'CertificateSigningRequest'),
  events: define('events.k8s.io', 'v1', true)('events', 'Event'),
  horizontalPodAutoscalers: define('autoscaling', 'v2', true)('horizontalpodautoscalers', 'HorizontalPodAutoscaler'),
  customResourceDefinitions: define(
    'apiextensions.k8s.io',
    'v1',
    false,
  )('customresourcedefinitions', 'CustomResourceDefinition'),
  apiServices: define('apiregistration.k8s.io', 'v1', false)('apiservices', 'APIService'),

  mutatingWebhookConfigurations: admission('mutatingwebhookconfigurations', 'MutatingWebhookConfiguration'),
  validatingWebhookConfigurations: admission('validatingwebhookconfigurations', 'ValidatingWebhookConfiguration'),
  validatingAdmissionPolicies: admission('validatingadmissionpolicies', 'ValidatingAdmissionPolicy'),
  validatingAdmissionPolicyBindings: admission('validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding'),
  mutatingAdmissionPolicies: admission('mutatingadmissionpolicies', 'MutatingAdmissionPolicy'),
  mutatingAdmissionPolicyBindings: admission('mutatingadmissionpolicybindings', 'MutatingAdmissionPolicyBinding'),

  flowSchemas: flowcontrol('flowschemas', 'FlowSchema'),
  priorityLevelConfigurations: flowcontrol('prioritylevelconfigurations', 'PriorityLevelConfiguration'),

  tokenReviews: authentication('tokenreviews', 'TokenReview'),
  selfSubjectReviews: authentication('selfsubjectreviews', 'SelfSubjectReview'),
  subjectAccessReviews: authorization('subjectaccessreviews', 'SubjectAccessReview'),
  selfSubjectAccessReviews: authorization('selfsubjectaccessreviews', 'SelfSubjectAccessReview'),
  selfSubjectRulesReviews: authorization('selfsubjectrulesreviews', 'SelfSubjectRulesReview'),
  localSubjectAccessReviews: define(
    'authorization.k8s.io',
    'v1',
    true,
  )('localsubjectaccessreviews', 'LocalSubjectAccessReview'),

  resourceClaims: dynamic('resourceclaims', 'ResourceClaim'),
  resourceClaimTemplates: dynamic('resourceclaimtemplates', 'ResourceClaimTemplate'),
  resourceSlices: dynamicCluster('resourceslices', 'ResourceSlice'),
  deviceClasses: dynamicCluster('deviceclasses', 'DeviceClass'),
} as const satisfies Record<string, Resource>;

/** `v1` or `apps/v1`, as `apiVersion` spells it. */
export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** The built-in resource of an object, by what the object says of itself. Errors: no built-in resource is of that kind. */
export function resourceOf({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): Resource {
  const found = Object.values(resources).find(
    (resource) => resource.kind === kind && apiVersionOf(resource) === apiVersion,
  );
  if (found === undefined) throw new Error(`no built-in resource is a ${kind} in ${apiVersion}`);
  return found;
}

/** Path of a resource's collection, of one object, or of one object's subresource. */
export function resourcePath(
  resource: Resource,
  options: { namespace?: string | undefined; name?: string | undefined; subresource?: string | undefined } = {},
): string {
  let path = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  if (resource.namespaced && options.namespace) path += `/namespaces/${encodeURIComponent(options.namespace)}`;
  path += `/${resource.plural}`;
  if (options.name !== undefined) path += `/${encodeURIComponent(options.name)}`;
  if (options.subresource !== undefined) path += `/${options.subresource}`;
  return path;
}

// SPDX-License-Identifier: Apache-2.0
// What each controller of the controller-manager may do when it runs under its own service account; the names are upstream's.
import type { PolicyRule } from '../../machinery/api-types.ts';
import { events, on } from './rules.ts';

const read = ['get', 'list', 'watch'];
const change = ['patch', 'update'];

/** Rules by the name of the controller, without `system:controller:`. */
export function controllerRules(): Record<string, PolicyRule[]> {
  const pods = on('', 'pods', ['create', 'delete', 'patch', ...read]);
  const revisions = on('apps', 'controllerrevisions', ['create', 'delete', ...change, ...read]);
  return {
    'attachdetach-controller': [
      on('', 'persistentvolumeclaims persistentvolumes nodes pods', read),
      on('', 'nodes/status', change),
      on('storage.k8s.io', 'volumeattachments', ['create', 'delete', ...read]),
      on('storage.k8s.io', 'csidrivers csinodes', read),
      ...events(),
    ],
    'certificate-controller': [
      on('certificates.k8s.io', 'certificatesigningrequests', ['delete', ...read]),
      on('certificates.k8s.io', 'certificatesigningrequests/approval certificatesigningrequests/status', change),
      on(
        'certificates.k8s.io',
        'signers',
        ['approve', 'sign'],
        'kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown',
      ),
      on('authorization.k8s.io', 'subjectaccessreviews', ['create']),
      ...events(),
    ],
    'clusterrole-aggregation-controller': [
      on('rbac.authorization.k8s.io', 'clusterroles', ['escalate', ...change, ...read]),
    ],
    'cronjob-controller': [
      on('batch', 'cronjobs', ['update', ...read]),
      on('batch', 'cronjobs/status cronjobs/finalizers', change),
      on('batch', 'jobs', ['create', 'delete', ...change, ...read]),
      on('', 'pods', ['delete', 'list']),
      ...events(),
    ],
    'daemon-set-controller': [
      on('apps', 'daemonsets', read),
      on('apps', 'daemonsets/status daemonsets/finalizers', change),
      on('', 'nodes', read),
      pods,
      on('', 'pods/binding', ['create']),
      revisions,
      ...events(),
    ],
    'deployment-controller': [
      on('apps', 'deployments', ['update', ...read]),
      on('apps', 'deployments/status deployments/finalizers', change),
      on('apps', 'replicasets', ['create', 'delete', ...change, ...read]),
      on('', 'pods', ['update', ...read]),
      ...events(),
    ],
    'disruption-controller': [
      on('apps', 'deployments replicasets statefulsets', read),
      on('', 'replicationcontrollers', read),
      on('', 'pods/status', change),
      on('policy', 'poddisruptionbudgets', read),
      on('policy', 'poddisruptionbudgets/status', change),
      on('*', '*/scale', ['get']),
      ...events(),
    ],
    'endpoint-controller': [
      on('', 'pods services', read),
      on('', 'endpoints', ['create', 'delete', 'update', ...read]),
      on('', 'endpoints/restricted', ['create']),
      ...events(),
    ],
    'endpointslice-controller': [
      on('', 'nodes pods services', read),
      on('', 'services/finalizers', ['update']),
      on('discovery.k8s.io', 'endpointslices', ['create', 'delete', 'update', ...read]),
      ...events(),
    ],
    'endpointslicemirroring-controller': [
      on('', 'endpoints services', read),
      on('', 'endpoints/finalizers services/finalizers', ['update']),
      on('discovery.k8s.io', 'endpointslices', ['create', 'delete', 'update', ...read]),
      ...events(),
    ],
    'ephemeral-volume-controller': [
      on('', 'pods', read),
      on('', 'pods/finalizers', ['update']),
      on('', 'persistentvolumeclaims', ['create', ...read]),
      ...events(),
    ],
    'expand-controller': [
      on('', 'persistentvolumes', ['patch', 'update', ...read]),
      on('', 'persistentvolumeclaims/status', change),
      on('', 'persistentvolumeclaims', read),
      on('storage.k8s.io', 'storageclasses', read),
      ...events(),
    ],
    'generic-garbage-collector': [on('*', '*', ['delete', ...change, ...read]), ...events()],
    'horizontal-pod-autoscaler': [
      on('autoscaling', 'horizontalpodautoscalers', read),
      on('autoscaling', 'horizontalpodautoscalers/status', ['update']),
      on('*', '*/scale', ['get', 'update']),
      on('', 'pods', ['list']),
      on('metrics.k8s.io', 'pods', ['list']),
      ...events(),
    ],
    'job-controller': [
      on('batch', 'jobs', ['patch', 'update', ...read]),
      on('batch', 'jobs/status jobs/finalizers', change),
      on('', 'pods', ['create', 'delete', ...change, ...read]),
      ...events(),
    ],
    'legacy-service-account-token-cleaner': [
      on('', 'configmaps', ['get'], 'kube-apiserver-legacy-service-account-token-tracking'),
      on('', 'secrets', ['delete', 'patch']),
    ],
    'namespace-controller': [
      on('', 'namespaces', ['delete', ...read]),
      on('', 'namespaces/finalize namespaces/status', ['update']),
      on('*', '*', ['delete', 'deletecollection', 'get', 'list']),
    ],
    'node-controller': [
      on('', 'nodes', ['delete', ...change, ...read]),
      on('', 'nodes/status pods/status', change),
      on('', 'pods', ['delete', ...read]),
      on('coordination.k8s.io', 'leases', read),
      ...events(),
    ],
    'persistent-volume-binder': [
      on('', 'persistentvolumes', ['create', 'delete', ...change, ...read]),
      on('', 'persistentvolumes/status persistentvolumeclaims/status', change),
      on('', 'persistentvolumeclaims', [...change, ...read]),
      on('', 'pods', ['create', 'delete', ...read]),
      on('storage.k8s.io', 'storageclasses', read),
      on('', 'nodes', read),
      ...events(),
    ],
    'pod-garbage-collector': [
      on('', 'pods', ['delete', ...read]),
      on('', 'nodes', read),
      on('', 'pods/status', ['patch']),
    ],
    'pv-protection-controller': [on('', 'persistentvolumes', ['update', ...read]), ...events()],
    'pvc-protection-controller': [
      on('', 'persistentvolumeclaims', ['update', ...read]),
      on('', 'pods', read),
      ...events(),
    ],
    'replicaset-controller': [
      on('apps', 'replicasets', ['update', ...read]),
      on('apps', 'replicasets/status replicasets/finalizers', change),
      pods,
      ...events(),
    ],
    'replication-controller': [
      on('', 'replicationcontrollers', ['update', ...read]),
      on('', 'replicationcontrollers/status replicationcontrollers/finalizers', change),
      pods,
      ...events(),
    ],
    'resourcequota-controller': [
      on('*', '*', ['list', 'watch']),
      on('', 'resourcequotas/status', ['update']),
      ...events(),
    ],
    'root-ca-cert-publisher': [on('', 'configmaps', ['create', 'update']), ...events()],
    'route-controller': [on('', 'nodes', read), on('', 'nodes/status', ['patch']), ...events()],
    'service-account-controller': [on('', 'serviceaccounts', ['create']), ...events()],
    'service-cidrs-controller': [
      on('networking.k8s.io', 'servicecidrs', [...change, ...read]),
      on('networking.k8s.io', 'servicecidrs/status servicecidrs/finalizers', change),
      on('networking.k8s.io', 'ipaddresses', read),
      ...events(),
    ],
    'service-controller': [
      on('', 'services', read),
      on('', 'services/status', change),
      on('', 'nodes', ['list', 'watch']),
      ...events(),
    ],
    'statefulset-controller': [
      on('', 'pods', ['create', 'delete', ...change, ...read]),
      on('apps', 'statefulsets', read),
      on('apps', 'statefulsets/status statefulsets/finalizers', change),
      revisions,
      on('', 'persistentvolumeclaims', ['create', 'delete', 'update', ...read]),
      ...events(),
    ],
    'ttl-after-finished-controller': [on('batch', 'jobs', ['delete', ...read]), ...events()],
    'ttl-controller': [on('', 'nodes', [...change, ...read]), ...events()],
    'validatingadmissionpolicy-status-controller': [
      on('admissionregistration.k8s.io', 'validatingadmissionpolicies', read),
      on('admissionregistration.k8s.io', 'validatingadmissionpolicies/status', change),
      ...events(),
    ],
  };
}

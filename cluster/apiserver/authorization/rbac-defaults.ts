// SPDX-License-Identifier: Apache-2.0
// The roles and bindings that every cluster starts with, under the names that people and charts rely on.
import type { ClusterRole, PolicyRule, RoleBinding, Subject } from '../../machinery/api-types.ts';
import { controllerRules } from './controller-rules.ts';
import { events, on } from './rules.ts';

const read = ['get', 'list', 'watch'];
const write = ['create', 'delete', 'deletecollection', 'patch', 'update'];
const all = [...read, ...write];
const rbac = 'rbac.authorization.k8s.io';
const toAdmin = 'rbac.authorization.k8s.io/aggregate-to-admin';
const toEdit = 'rbac.authorization.k8s.io/aggregate-to-edit';
const toView = 'rbac.authorization.k8s.io/aggregate-to-view';

export interface DefaultRole extends Omit<ClusterRole, 'metadata'> {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
}

export interface DefaultBinding extends Omit<RoleBinding, 'metadata'> {
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

function paths(urls: string): PolicyRule {
  return { verbs: ['get'], nonResourceURLs: urls.split(' ') };
}

const viewRules: PolicyRule[] = [
  on(
    '',
    'configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status',
    read,
  ),
  on(
    '',
    'bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status',
    read,
  ),
  on('', 'namespaces', read),
  on('discovery.k8s.io', 'endpointslices', read),
  on(
    'apps',
    'controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status',
    read,
  ),
  on('autoscaling', 'horizontalpodautoscalers horizontalpodautoscalers/status', read),
  on('batch', 'cronjobs cronjobs/status jobs jobs/status', read),
  on('policy', 'poddisruptionbudgets poddisruptionbudgets/status', read),
  on('networking.k8s.io', 'ingresses ingresses/status networkpolicies', read),
];

const editRules: PolicyRule[] = [
  on('', 'pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy', read),
  on('', 'serviceaccounts', ['impersonate']),
  on('', 'pods pods/attach pods/exec pods/portforward pods/proxy pods/resize', write),
  on('', 'pods/eviction', ['create']),
  on(
    '',
    'configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy',
    write,
  ),
  on('', 'serviceaccounts/token', ['create']),
  on(
    'apps',
    'daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale',
    write,
  ),
  on('autoscaling', 'horizontalpodautoscalers', write),
  on('batch', 'cronjobs jobs', write),
  on('policy', 'poddisruptionbudgets', write),
  on('networking.k8s.io', 'ingresses networkpolicies', write),
  on('coordination.k8s.io', 'leases', all),
];

const adminRules: PolicyRule[] = [
  on('authorization.k8s.io', 'localsubjectaccessreviews', ['create']),
  on(rbac, 'rolebindings roles', all),
];

/** What every kubelet may do, apart from what the node authorizer decides object by object. */
export const nodeRules: PolicyRule[] = [
  on('authentication.k8s.io', 'tokenreviews', ['create']),
  on('authorization.k8s.io', 'localsubjectaccessreviews subjectaccessreviews', ['create']),
  on('', 'services', read),
  on('', 'nodes', ['create', ...read]),
  on('', 'nodes/status', ['patch', 'update']),
  on('', 'nodes', ['patch', 'update']),
  ...events(),
  on('', 'pods', read),
  on('', 'pods', ['create', 'delete']),
  on('', 'pods/status', ['patch', 'update']),
  on('', 'pods/eviction', ['create']),
  on('certificates.k8s.io', 'certificatesigningrequests', ['create', ...read]),
  on('storage.k8s.io', 'csidrivers volumeattachments', read),
  on('node.k8s.io', 'runtimeclasses', read),
  on('resource.k8s.io', 'resourceclaims', ['get']),
  on('resource.k8s.io', 'resourceslices', ['deletecollection', ...read]),
];

const schedulerRules: PolicyRule[] = [
  ...events(),
  on('coordination.k8s.io', 'leases', ['create']),
  on('coordination.k8s.io', 'leases', ['get', 'list', 'update', 'watch'], 'kube-scheduler'),
  on('', 'nodes', read),
  on('', 'pods', ['delete', ...read]),
  on('', 'bindings pods/binding', ['create']),
  on('', 'pods/status', ['patch', 'update']),
  on('', 'namespaces replicationcontrollers services', read),
  on('apps', 'replicasets statefulsets', read),
  on('policy', 'poddisruptionbudgets', read),
  on('', 'persistentvolumeclaims persistentvolumes', ['patch', 'update', ...read]),
  on('authentication.k8s.io', 'tokenreviews', ['create']),
  on('authorization.k8s.io', 'subjectaccessreviews', ['create']),
  on('storage.k8s.io', 'csidrivers csinodes csistoragecapacities storageclasses volumeattachments', read),
  on('resource.k8s.io', 'deviceclasses resourceslices resourceclaims', read),
  on('resource.k8s.io', 'resourceclaims/status', ['patch', 'update']),
];

const controllerManagerRules: PolicyRule[] = [
  ...events(),
  on('coordination.k8s.io', 'leases', ['create']),
  on('coordination.k8s.io', 'leases', ['get', 'list', 'update', 'watch'], 'kube-controller-manager'),
  on('', 'secrets serviceaccounts', ['create']),
  on('', 'secrets', ['delete']),
  on('', 'configmaps namespaces secrets serviceaccounts', ['get']),
  on('', 'secrets serviceaccounts', ['update']),
  on('authentication.k8s.io', 'tokenreviews', ['create']),
  on('authorization.k8s.io', 'subjectaccessreviews', ['create']),
  on('*', '*', ['list', 'watch']),
  on('', 'serviceaccounts/token', ['create']),
];

const proxierRules: PolicyRule[] = [
  ...events(),
  on('', 'endpoints nodes services', read),
  on('discovery.k8s.io', 'endpointslices', read),
  on('networking.k8s.io', 'servicecidrs', read),
];

export function defaultRoles(): DefaultRole[] {
  return [
    clusterRole('cluster-admin', [on('*', '*', ['*']), { verbs: ['*'], nonResourceURLs: ['*'] }]),
    aggregate('admin', toAdmin),
    aggregate('edit', toEdit, { [toAdmin]: 'true' }),
    aggregate('view', toView, { [toEdit]: 'true' }),
    clusterRole('system:aggregate-to-admin', adminRules, { [toAdmin]: 'true' }),
    clusterRole('system:aggregate-to-edit', editRules, { [toEdit]: 'true' }),
    clusterRole('system:aggregate-to-view', viewRules, { [toView]: 'true' }),
    clusterRole('system:basic-user', [
      on('authorization.k8s.io', 'selfsubjectaccessreviews selfsubjectrulesreviews', ['create']),
      on('authentication.k8s.io', 'selfsubjectreviews', ['create']),
    ]),
    clusterRole('system:discovery', [
      paths('/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/'),
    ]),
    clusterRole('system:public-info-viewer', [paths('/healthz /livez /readyz /version /version/')]),
    clusterRole('system:monitoring', [
      paths('/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*'),
    ]),
    clusterRole('system:heapster', [on('', 'events namespaces nodes pods', read), on('apps', 'deployments', read)]),
    clusterRole('system:auth-delegator', [
      on('authentication.k8s.io', 'tokenreviews', ['create']),
      on('authorization.k8s.io', 'subjectaccessreviews', ['create']),
    ]),
    clusterRole('system:kube-aggregator', [
      on('', 'endpoints services', read),
      on('discovery.k8s.io', 'endpointslices', read),
    ]),
    clusterRole('system:kubelet-api-admin', [
      on('', 'nodes', read),
      on('', 'nodes', ['proxy']),
      on('', 'nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats', ['*']),
    ]),
    clusterRole('system:node', nodeRules),
    clusterRole('system:node-bootstrapper', [
      on('certificates.k8s.io', 'certificatesigningrequests', ['create', ...read]),
    ]),
    clusterRole('system:node-problem-detector', [
      on('', 'nodes', ['get']),
      on('', 'nodes/status', ['patch']),
      ...events(),
    ]),
    clusterRole('system:node-proxier', proxierRules),
    clusterRole('system:kube-controller-manager', controllerManagerRules),
    clusterRole('system:kube-dns', [on('', 'endpoints services', ['list', 'watch'])]),
    clusterRole('system:kube-scheduler', schedulerRules),
    clusterRole('system:volume-scheduler', [
      on('', 'persistentvolumes', ['patch', 'update', ...read]),
      on('storage.k8s.io', 'storageclasses', read),
      on('', 'persistentvolumeclaims', ['patch', 'update', ...read]),
    ]),
    clusterRole('system:persistent-volume-provisioner', [
      on('', 'persistentvolumes', ['create', 'delete', ...read]),
      on('', 'persistentvolumeclaims', ['update', ...read]),
      on('storage.k8s.io', 'storageclasses', read),
      ...events(),
    ]),
    clusterRole('system:service-account-issuer-discovery', [
      paths('/.well-known/openid-configuration /openid/v1/jwks'),
    ]),
    clusterRole('system:certificates.k8s.io:certificatesigningrequests:nodeclient', [
      on('certificates.k8s.io', 'certificatesigningrequests/nodeclient', ['create']),
    ]),
    clusterRole('system:certificates.k8s.io:certificatesigningrequests:selfnodeclient', [
      on('certificates.k8s.io', 'certificatesigningrequests/selfnodeclient', ['create']),
    ]),
    ...[
      ['kube-apiserver-client-approver', 'kube-apiserver-client', 'approve'],
      ['kube-apiserver-client-kubelet-approver', 'kube-apiserver-client-kubelet', 'approve'],
      ['kubelet-serving-approver', 'kubelet-serving', 'approve'],
      ['legacy-unknown-approver', 'legacy-unknown', 'approve'],
    ].map(([name, signer, verb]) =>
      clusterRole(`system:certificates.k8s.io:${name}`, [
        on('certificates.k8s.io', 'signers', [verb ?? ''], `kubernetes.io/${signer}`),
      ]),
    ),
    ...Object.entries(controllerRules()).map(([name, rules]) => clusterRole(`system:controller:${name}`, rules)),
    role('kube-system', 'extension-apiserver-authentication-reader', [
      on('', 'configmaps', read, 'extension-apiserver-authentication'),
    ]),
    role('kube-system', 'system::leader-locking-kube-controller-manager', [
      on('', 'configmaps', ['watch']),
      on('', 'configmaps', ['get', 'update'], 'kube-controller-manager'),
    ]),
    role('kube-system', 'system::leader-locking-kube-scheduler', [
      on('', 'configmaps', ['watch']),
      on('', 'configmaps', ['get', 'update'], 'kube-scheduler'),
    ]),
    role('kube-system', 'system:controller:bootstrap-signer', [on('', 'secrets', read)]),
    role('kube-system', 'system:controller:cloud-provider', [on('', 'configmaps', ['create', 'update', ...read])]),
    role('kube-system', 'system:controller:token-cleaner', [on('', 'secrets', ['delete', ...read]), ...events()]),
    role('kube-public', 'system:controller:bootstrap-signer', [
      on('', 'configmaps', read),
      on('', 'configmaps', ['update'], 'cluster-info'),
      ...events(),
    ]),
  ];
}

export function defaultBindings(): DefaultBinding[] {
  const authenticated = group('system:authenticated');
  const unauthenticated = group('system:unauthenticated');
  return [
    bind('cluster-admin', 'cluster-admin', [group('system:masters')]),
    bind('system:monitoring', 'system:monitoring', [group('system:monitoring')]),
    bind('system:discovery', 'system:discovery', [authenticated]),
    bind('system:public-info-viewer', 'system:public-info-viewer', [authenticated, unauthenticated]),
    bind('system:basic-user', 'system:basic-user', [authenticated]),
    bind('system:node-proxier', 'system:node-proxier', [user('system:kube-proxy')]),
    bind('system:kube-controller-manager', 'system:kube-controller-manager', [user('system:kube-controller-manager')]),
    bind('system:kube-dns', 'system:kube-dns', [account('kube-dns')]),
    bind('system:kube-scheduler', 'system:kube-scheduler', [user('system:kube-scheduler')]),
    bind('system:volume-scheduler', 'system:volume-scheduler', [user('system:kube-scheduler')]),
    // As upstream: kubelets get these rights only where an administrator adds subjects.
    bind('system:node', 'system:node', []),
    bind('system:service-account-issuer-discovery', 'system:service-account-issuer-discovery', [
      group('system:serviceaccounts'),
    ]),
    ...Object.keys(controllerRules()).map((name) =>
      bind(`system:controller:${name}`, `system:controller:${name}`, [account(name)]),
    ),
    bindIn(
      'kube-system',
      'system::extension-apiserver-authentication-reader',
      'extension-apiserver-authentication-reader',
      [user('system:kube-controller-manager'), user('system:kube-scheduler')],
    ),
    bindIn(
      'kube-system',
      'system::leader-locking-kube-controller-manager',
      'system::leader-locking-kube-controller-manager',
      [user('system:kube-controller-manager'), account('kube-controller-manager')],
    ),
    bindIn('kube-system', 'system::leader-locking-kube-scheduler', 'system::leader-locking-kube-scheduler', [
      user('system:kube-scheduler'),
      account('kube-scheduler'),
    ]),
    bindIn('kube-system', 'system:controller:bootstrap-signer', 'system:controller:bootstrap-signer', [
      account('bootstrap-signer'),
    ]),
    bindIn('kube-system', 'system:controller:cloud-provider', 'system:controller:cloud-provider', [
      account('cloud-provider'),
    ]),
    bindIn('kube-system', 'system:controller:token-cleaner', 'system:controller:token-cleaner', [
      account('token-cleaner'),
    ]),
    bindIn('kube-public', 'system:controller:bootstrap-signer', 'system:controller:bootstrap-signer', [
      account('bootstrap-signer'),
    ]),
  ];
}

function clusterRole(name: string, rules: PolicyRule[], labels?: Record<string, string>): DefaultRole {
  return { metadata: { name, ...(labels === undefined ? {} : { labels }) }, rules };
}

function aggregate(name: string, label: string, labels?: Record<string, string>): DefaultRole {
  return {
    metadata: { name, ...(labels === undefined ? {} : { labels }) },
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [label]: 'true' } }] },
    rules: [],
  };
}

function role(namespace: string, name: string, rules: PolicyRule[]): DefaultRole {
  return { metadata: { name, namespace }, rules };
}

function bind(name: string, to: string, subjects: Subject[]): DefaultBinding {
  return { metadata: { name }, roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: to }, subjects };
}

function bindIn(namespace: string, name: string, to: string, subjects: Subject[]): DefaultBinding {
  return { metadata: { name, namespace }, roleRef: { apiGroup: rbac, kind: 'Role', name: to }, subjects };
}

function user(name: string): Subject {
  return { kind: 'User', apiGroup: rbac, name };
}

function group(name: string): Subject {
  return { kind: 'Group', apiGroup: rbac, name };
}

function account(name: string): Subject {
  return { kind: 'ServiceAccount', name, namespace: 'kube-system' };
}

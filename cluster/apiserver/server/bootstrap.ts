// SPDX-License-Identifier: Apache-2.0
// Objects that every cluster has from its first second: system namespaces, the kubernetes Service and its endpoints, priority
// classes, the authorities of clients, default roles. Made when missing and repaired at every start.
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../machinery/log.ts';
import { reconcileRoles } from '../authorization/reconcile-roles.ts';
import { repairAddresses } from '../resources/allocation/address-objects.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { isReason } from '../status.ts';
import { timestamp } from './core.ts';
import { equal } from './json.ts';

export interface BootstrapOptions {
  readonly registry: Registry;
  readonly log: Logger;
  readonly advertiseAddress: string;
  readonly securePort: number;
  /** First address of the Service range. */
  readonly serviceAddress: string;
  readonly serviceRanges: readonly string[];
  /** PEM text. */
  readonly clientCa: string;
  /** PEM text; absent when this server passes requests on without a certificate of its own. */
  readonly frontProxyAuthority: string | undefined;
  /** Names that the certificate of the front proxy may have; any when empty. */
  readonly frontProxyNames: readonly string[];
  readonly signal: AbortSignal;
}

const systemNamespaces = ['kube-system', 'kube-public', 'kube-node-lease', 'default'];
const endpointsIntervalMs = 10_000;

/** Resolves when everything is in place; then keeps the kubernetes endpoints and IPAddresses right until the signal. */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const { registry } = options;
  for (const name of systemNamespaces) {
    await ensure(registry, 'namespaces', object('v1', 'Namespace', { name }));
  }
  await Promise.all([
    ensure(registry, 'priorityclasses.scheduling.k8s.io', priorityClass('system-cluster-critical', 2_000_000_000)),
    ensure(registry, 'priorityclasses.scheduling.k8s.io', priorityClass('system-node-critical', 2_000_001_000)),
    ensure(registry, 'configmaps', clientAuthorities(options), ['data']),
    reconcileRoles(registry),
    kubernetesService(options),
    serviceCidr(options),
  ]);
  void keepRight(options);
}

/** The ranges of the command line as an object, which is the server's own and ready from the start. */
async function serviceCidr({ registry, serviceRanges }: BootstrapOptions): Promise<void> {
  const resource = 'servicecidrs.networking.k8s.io';
  const name = 'kubernetes';
  const wanted = object('networking.k8s.io/v1', 'ServiceCIDR', { name });
  wanted['spec'] = { cidrs: serviceRanges };
  await ensure(registry, resource, wanted);
  await registry.update(
    resource,
    undefined,
    name,
    (current) => {
      const { conditions = [] } = (current['status'] ?? {}) as { conditions?: { type: string; status: string }[] };
      if (conditions.some(({ type, status }) => type === 'Ready' && status === 'True')) {
        return undefined;
      }
      const message = 'Kubernetes default Service CIDR is ready';
      const ready = { type: 'Ready', status: 'True', reason: '', message, lastTransitionTime: timestamp() };
      current['status'] = { conditions: [...conditions.filter(({ type }) => type !== 'Ready'), ready] };
      return current;
    },
    { subresource: 'status' },
  );
}

async function keepRight(options: BootstrapOptions): Promise<void> {
  let suspects: ReadonlySet<string> = new Set();
  while (!options.signal.aborted) {
    await delay(endpointsIntervalMs, undefined, { signal: options.signal, ref: false }).catch(() => {});
    if (!options.signal.aborted) {
      await kubernetesService(options).catch((error: unknown) =>
        options.log.error('cannot reconcile the kubernetes endpoints', error),
      );
      suspects = await repairAddresses(options.registry, suspects).catch((error: unknown) => {
        options.log.error('cannot reconcile IPAddresses with Services', error);
        return suspects;
      });
    }
  }
}

async function kubernetesService(options: BootstrapOptions): Promise<void> {
  const { registry, advertiseAddress, securePort, serviceAddress } = options;
  const labels = { component: 'apiserver', provider: 'kubernetes' };
  const service = object('v1', 'Service', { name: 'kubernetes', namespace: 'default', labels });
  service['spec'] = {
    clusterIP: serviceAddress,
    clusterIPs: [serviceAddress],
    ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: securePort }],
    sessionAffinity: 'None',
    type: 'ClusterIP',
  };
  await ensure(registry, 'services', service);
  const endpoints = object('v1', 'Endpoints', {
    name: 'kubernetes',
    namespace: 'default',
    labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' },
  });
  endpoints['subsets'] = [
    { addresses: [{ ip: advertiseAddress }], ports: [{ name: 'https', port: securePort, protocol: 'TCP' }] },
  ];
  await ensure(registry, 'endpoints', endpoints, ['subsets']);
  const slice = object('discovery.k8s.io/v1', 'EndpointSlice', {
    name: 'kubernetes',
    namespace: 'default',
    labels: { 'kubernetes.io/service-name': 'kubernetes' },
  });
  slice['addressType'] = advertiseAddress.includes(':') ? 'IPv6' : 'IPv4';
  slice['endpoints'] = [{ addresses: [advertiseAddress], conditions: { ready: true } }];
  slice['ports'] = [{ name: 'https', port: securePort, protocol: 'TCP' }];
  await ensure(registry, 'endpointslices.discovery.k8s.io', slice, ['endpoints', 'ports']);
}

/** Creates what is missing, and puts the named top-level fields right on what is there. */
async function ensure(
  registry: Registry,
  resource: string,
  wanted: KubeObject,
  fields: readonly string[] = [],
): Promise<void> {
  const { name = '', namespace } = wanted.metadata;
  const present = registry.get(resource, namespace, name);
  if (present === undefined) {
    await registry.create(resource, wanted).catch((error: unknown) => {
      if (!isReason(error, 'AlreadyExists')) {
        throw error;
      }
    });
  } else if (fields.some((field) => !equal(present[field], wanted[field]))) {
    await registry.update(resource, namespace, name, (current) => {
      for (const field of fields) {
        current[field] = wanted[field];
      }
      return current;
    });
  }
}

function object(apiVersion: string, kind: string, metadata: KubeObject['metadata']): KubeObject {
  return { apiVersion, kind, metadata };
}

function priorityClass(name: string, value: number): KubeObject {
  const description =
    value === 2_000_001_000
      ? 'Used for system critical pods that must not be moved from their current node.'
      : 'Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.';
  return {
    ...object('scheduling.k8s.io/v1', 'PriorityClass', { name }),
    value,
    description,
    preemptionPolicy: 'PreemptLowerPriority',
  };
}

/** What extension API servers believe: client certificates of the cluster, and the front proxy about who is asking. */
function clientAuthorities({ clientCa, frontProxyAuthority, frontProxyNames }: BootstrapOptions): KubeObject {
  const metadata = { name: 'extension-apiserver-authentication', namespace: 'kube-system' };
  const frontProxy = {
    'requestheader-allowed-names': JSON.stringify(frontProxyNames),
    'requestheader-client-ca-file': frontProxyAuthority,
    'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
    'requestheader-group-headers': '["X-Remote-Group"]',
    'requestheader-uid-headers': '["X-Remote-Uid"]',
    'requestheader-username-headers': '["X-Remote-User"]',
  };
  const data = { 'client-ca-file': clientCa, ...(frontProxyAuthority === undefined ? {} : frontProxy) };
  return { ...object('v1', 'ConfigMap', metadata), data };
}

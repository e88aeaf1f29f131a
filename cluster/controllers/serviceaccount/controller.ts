// SPDX-License-Identifier: Apache-2.0
// Gives each namespace its `default` service account and the ConfigMap `kube-root-ca.crt`, and puts them back when they
// are deleted or changed.
import type { ConfigMap, Namespace, ServiceAccount } from '../../machinery/api-types.ts';
import { ApiError, isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

const rootCaName = 'kube-root-ca.crt';
const rootCaNote =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. ' +
  'No other usage is guaranteed across distributions of Kubernetes clusters.';

export const serviceAccountController: Controller = {
  name: 'serviceaccount-controller',
  serviceAccount: 'service-account-controller',
  setup: setupAccounts,
};
export const rootCaController: Controller = {
  name: 'root-ca-certificate-publisher-controller',
  serviceAccount: 'root-ca-cert-publisher',
  setup: setupRootCa,
};

function setupAccounts({ client, informers }: ControllerContext): Running {
  const namespaces = informers.get<Namespace>(resources.namespaces);
  const accounts = informers.get<ServiceAccount>(resources.serviceAccounts);
  const queue = new WorkQueue({ name: 'serviceaccount-controller', reconcile });
  namespaces.onChange(({ object }) => queue.add(object.metadata.name ?? ''));
  accounts.onChange(({ type, object }) => {
    if (type === 'deleted' && object.metadata.name === 'default') queue.add(object.metadata.namespace ?? '');
  });

  async function reconcile(namespace: string): Promise<void> {
    if (!isLive(namespaces.get(namespace)) || accounts.get('default', namespace)) return;
    await unlessRefused(client.create(resources.serviceAccounts, { metadata: { name: 'default', namespace } }));
  }

  return { queues: [queue] };
}

function setupRootCa({ client, informers, settings }: ControllerContext): Running {
  const { rootCa } = settings;
  if (!rootCa) return {};
  const namespaces = informers.get<Namespace>(resources.namespaces);
  const configMaps = informers.get<ConfigMap>(resources.configMaps);
  const queue = new WorkQueue({ name: 'root-ca-cert-publisher', reconcile });
  namespaces.onChange(({ object }) => queue.add(object.metadata.name ?? ''));
  configMaps.onChange(({ object }) => {
    if (object.metadata.name === rootCaName) queue.add(object.metadata.namespace ?? '');
  });

  async function reconcile(namespace: string): Promise<void> {
    if (!isLive(namespaces.get(namespace))) return;
    const existing = configMaps.get(rootCaName, namespace);
    const data = { 'ca.crt': rootCa ?? '' };
    const annotations = { 'kubernetes.io/description': rootCaNote };
    if (!existing) {
      await unlessRefused(
        client.create(resources.configMaps, { metadata: { name: rootCaName, namespace, annotations }, data }),
      );
    } else if (existing.data?.['ca.crt'] !== rootCa || Object.keys(existing.data ?? {}).length !== 1) {
      const metadata = { ...existing.metadata, annotations: { ...existing.metadata.annotations, ...annotations } };
      await client.update(resources.configMaps, { ...existing, metadata, data });
    }
  }

  return { queues: [queue] };
}

function isLive(namespace: Namespace | undefined): boolean {
  return namespace !== undefined && !namespace.metadata.deletionTimestamp;
}

/** A namespace that is going away, or another writer that was quicker, is no failure. */
async function unlessRefused(write: Promise<unknown>): Promise<void> {
  try {
    await write;
  } catch (error) {
    const terminating =
      error instanceof ApiError &&
      error.status.details?.causes?.some(({ reason }) => reason === 'NamespaceTerminating');
    if (!isAlreadyExists(error) && !isNotFound(error) && !terminating) throw error;
  }
}

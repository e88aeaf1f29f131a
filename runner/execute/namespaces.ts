// SPDX-License-Identifier: Apache-2.0
/** Creates and deletes the namespaces of a run. */
import { randomBytes } from 'node:crypto';
import type { NamespaceOptions } from '../../suites/case.ts';
import { done, pending } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { runLabels } from './run-labels.ts';

export interface NamespaceRequest extends NamespaceOptions {
  readonly runId: string;
  /** Words for the name; cut to fit. */
  readonly purpose: string;
  readonly signal: AbortSignal;
  /** Makes the ServiceAccount `default` itself: where a cluster is looked at that is ill, its controllers may not. */
  readonly makeAccount?: true;
}

/**
 * Resolves to the name once the ServiceAccount `default` exists, since pods are refused before. Leaves nothing behind when that fails, or the signal
 * is aborted.
 */
export async function createNamespace(kube: KubeClients, request: NamespaceRequest): Promise<string> {
  const name = namespaceName(request.purpose);
  const level = request.podSecurity ?? 'restricted';
  await kube.core.createNamespace({
    body: {
      metadata: {
        name,
        labels: {
          ...request.labels,
          ...runLabels(request.runId),
          'pod-security.kubernetes.io/enforce': level,
          'pod-security.kubernetes.io/audit': level,
          'pod-security.kubernetes.io/warn': level,
        },
      },
    },
  });
  try {
    await awaitAccount(kube, name, request);
  } catch (error) {
    await deleteNamespace(kube, name);
    throw error;
  }
  return name;
}

async function awaitAccount(
  kube: KubeClients,
  name: string,
  { makeAccount, signal }: Pick<NamespaceRequest, 'makeAccount' | 'signal'>,
): Promise<void> {
  if (makeAccount === true) {
    const body = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } };
    const { status } = await kube.request({
      method: 'POST',
      path: `/api/v1/namespaces/${name}/serviceaccounts`,
      body,
      signal,
    });
    // The controller may have been quicker.
    if (status === 201 || status === 409) return;
  }
  await kube.waitForObject(
    { apiVersion: 'v1', kind: 'ServiceAccount', name: 'default', namespace: name },
    (account) => (account === undefined ? pending('it does not exist') : done(undefined)),
    {
      description: `the ServiceAccount default in the new namespace ${name}`,
      timeoutMs: 30_000,
      signal,
    },
  );
}

function namespaceName(purpose: string): string {
  const words = purpose
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 45)
    .replace(/-+$/, '');
  return `plumb-${words}-${randomBytes(3).toString('hex')}`;
}

/**
 * Deletes a namespace and returns without waiting for its end. The pods get one second first: what a case left running is of no use, and with
 * 30 seconds of grace each it would stand in the way of the cases that follow.
 */
export async function deleteNamespace(kube: KubeClients, name: string, signal?: AbortSignal): Promise<void> {
  const request = { ...(signal === undefined ? {} : { signal }), timeoutMs: 20_000 };
  await kube.request({ ...request, method: 'DELETE', path: `/api/v1/namespaces/${name}/pods?gracePeriodSeconds=1` });
  const response = await kube.request({ ...request, method: 'DELETE', path: `/api/v1/namespaces/${name}` });
  if (response.status >= 300 && response.status !== 404 && response.status !== 409) {
    throw new Error(
      `deleting namespace ${name}: the API server answered ${response.status}: ${response.body.toString().slice(0, 300)}`,
    );
  }
}

// SPDX-License-Identifier: Apache-2.0
/** What most Service cases begin with: a namespace, some backends, a client elsewhere, and a Service in front. */
import type { V1Service, V1ServiceSpec } from '@kubernetes/client-node';
import type { StartPodOptions } from '../../probes/agent/probe-fleet.ts';
import type { ProbePod } from '../../probes/agent/prober.ts';
import type { CaseContext } from '../case.ts';

export interface Backends {
  readonly namespace: string;
  readonly servers: readonly ProbePod[];
  readonly client: ProbePod;
}

const selector = { role: 'server' };

/** Servers take turns over the workers; the client runs on the first. Pods of label `role: server` are what `expose` selects. */
export async function startBackends(
  t: CaseContext,
  count: number,
  server: Omit<StartPodOptions, 'name' | 'node'> = {},
): Promise<Backends> {
  const namespace = await t.namespace();
  const workers = t.cluster.workers;
  const pods = await t.probes.pods([
    { namespace, name: 'client', node: workers[0] ?? '', labels: { role: 'client' } },
    ...Array.from({ length: count }, (_unused, index) => ({
      ...server,
      namespace,
      name: `server-${index}`,
      node: workers[(index + 1) % workers.length] ?? '',
      labels: { ...selector, ...server.labels },
    })),
  ]);
  const [client, ...servers] = pods;
  if (client === undefined) throw new RangeError('no client was started');
  return { namespace, servers, client };
}

/** Creates a Service and resolves to what the server made of it; port 80 to 8080 of the backends unless the spec says otherwise. */
export function expose(
  t: CaseContext,
  namespace: string,
  spec: Partial<V1ServiceSpec> = {},
  name = 'web',
): Promise<V1Service> {
  return t.kube.core.createNamespacedService({
    namespace,
    body: {
      metadata: { name },
      spec: { selector, ports: [{ name: 'web', port: 80, targetPort: 8080 }], ...spec },
    },
  });
}

export function addressOf(service: V1Service): string {
  return service.spec?.clusterIP ?? '';
}

export function namesOf(pods: readonly ProbePod[]): string[] {
  return pods.map(({ name }) => name);
}

// SPDX-License-Identifier: Apache-2.0
// Keeps the Endpoints object of every Service with a selector.
import type { Endpoints, Pod, Service } from '../../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { planEndpoints } from './plan.ts';
import { hasSelector, selects, watchPods } from './service-pods.ts';

export const endpointsController: Controller = {
  name: 'endpoints-controller',
  serviceAccount: 'endpoint-controller',
  setup,
};

function setup({ client, informers }: ControllerContext): Running {
  const services = informers.get<Service>(resources.services);
  const pods = informers.get<Pod>(resources.pods);
  const endpoints = informers.get<Endpoints>(resources.endpoints);
  const queue = new WorkQueue({ name: 'endpoints-controller', reconcile });
  services.onChange(({ object }) => queue.add(keyOf(object)));
  endpoints.onChange(({ object }) => queue.add(keyOf(object)));
  watchPods(pods, services, (key) => queue.add(key));

  async function reconcile(key: string): Promise<void> {
    const { name, namespace = '' } = splitKey(key);
    const service = services.get(name, namespace);
    const current = endpoints.get(name, namespace);
    if (!service) {
      const ours = current?.metadata.labels?.['endpoints.kubernetes.io/managed-by'] === 'endpoint-controller';
      if (ours) await client.delete(resources.endpoints, name, { namespace }).catch(ignoreGone);
      return;
    }
    if (!hasSelector(service) || service.metadata.deletionTimestamp) return;
    const selected = pods.list(namespace).filter((pod) => selects(service, pod.metadata.labels));
    const wanted = planEndpoints(service, selected, current);
    if (!current) {
      try {
        await client.create(resources.endpoints, wanted);
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
      }
    } else if (
      !sameJson({ ...wanted, subsets: wanted.subsets ?? [] }, { ...current, subsets: current.subsets ?? [] })
    ) {
      await client.update(resources.endpoints, wanted).catch(ignoreGone);
    }
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}

// SPDX-License-Identifier: Apache-2.0
// Gives Services of type LoadBalancer addresses out of PLUMB_LOAD_BALANCER_RANGE, no flag, so that upstream's program
// can be started with the same ones. The network agents answer for them on the LAN, and kube-proxy does the rest. A
// finalizer holds a Service until its address is free again.

import { familyOf } from '../../network/addresses.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Service } from '../../machinery/api-types.ts';
import type { IpFamily } from '../../network/addresses.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { AddressPool, NoAddressError, parseRange } from './address-pool.ts';

export const serviceLoadBalancerController: Controller = {
  name: 'service-lb-controller',
  serviceAccount: 'service-controller',
  setup,
};

export const cleanupFinalizer = 'service.kubernetes.io/load-balancer-cleanup';
/** Services of another class, or of none, are somebody else's or anybody's. */
export const ownClass = 'plumbline.local/lan';

export type Plan =
  | { readonly do: 'nothing' }
  | { readonly do: 'ensure'; readonly families: readonly IpFamily[]; readonly wanted?: string }
  | { readonly do: 'release' };

/** What a Service asks for. */
export function planFor({ metadata, spec }: Service): Plan {
  const wants =
    spec?.type === 'LoadBalancer' &&
    metadata.deletionTimestamp === undefined &&
    (spec.loadBalancerClass === undefined || spec.loadBalancerClass === ownClass);
  if (!wants) return metadata.finalizers?.includes(cleanupFinalizer) === true ? { do: 'release' } : { do: 'nothing' };
  const families = (spec.ipFamilies ?? ['IPv4']).map((family): IpFamily => (family === 'IPv6' ? 6 : 4));
  const wanted = spec.loadBalancerIP;
  return { do: 'ensure', families, ...(wanted !== undefined && wanted !== '' && { wanted }) };
}

function setup({ client, informers, settings, recorder }: ControllerContext): Running {
  const ranges = (settings.loadBalancerRanges ?? []).map(parseRange);
  // Without a range, load balancers are a matter of somebody else in the cluster.
  if (ranges.length === 0) return {};
  const pool = new AddressPool(ranges);
  const services = informers.get<Service>(resources.services);
  const events = recorder('service-controller');
  const queue = new WorkQueue({ name: 'service-load-balancer', reconcile });
  const waiting = new Set<string>();
  let known = false;
  services.onChange(({ type, object }) => {
    const key = keyOf(object);
    if (type === 'deleted') {
      waiting.delete(key);
      release(key);
    } else if (planFor(object).do !== 'nothing') queue.add(key);
  });

  /** Who waits for an address may have this one. */
  function release(key: string): void {
    if (pool.held(key).length === 0) return;
    pool.release(key);
    for (const other of waiting) queue.add(other);
  }

  /** Addresses that Services have already are theirs before any is given out. */
  function learn(): void {
    if (known) return;
    known = true;
    for (const service of services.list()) {
      if (planFor(service).do === 'nothing') continue;
      for (const address of addressesOf(service)) pool.claim(keyOf(service), address);
    }
  }

  async function reconcile(key: string): Promise<void> {
    learn();
    const { name, namespace } = splitKey(key);
    const service = services.get(name, namespace);
    if (service === undefined) return;
    const plan = planFor(service);
    try {
      if (plan.do === 'ensure') await ensure(key, service, plan);
      else if (plan.do === 'release') await withdraw(key, service);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async function ensure(key: string, service: Service, plan: Extract<Plan, { do: 'ensure' }>): Promise<void> {
    const before = pool.held(key);
    let addresses: readonly string[];
    try {
      addresses = pool.assign(key, plan);
    } catch (error) {
      if (!(error instanceof NoAddressError)) throw error;
      waiting.add(key);
      const message = `Error syncing load balancer: failed to ensure load balancer: ${error.message}`;
      events.event({ kind: 'Service', ...service }, 'Warning', 'SyncLoadBalancerFailed', message);
      return;
    }
    waiting.delete(key);
    // An address that was given up may be what another Service waits for.
    if (before.some((address) => !addresses.includes(address))) for (const other of waiting) queue.add(other);
    const finalizers = service.metadata.finalizers ?? [];
    const complete = finalizers.includes(cleanupFinalizer);
    const current = addressesOf(service);
    const same = current.length === addresses.length && current.every((address) => addresses.includes(address));
    if (complete && same) return;
    if (!complete) {
      events.event({ kind: 'Service', ...service }, 'Normal', 'EnsuringLoadBalancer', 'Ensuring load balancer');
    }
    await write(service, {
      metadata: { finalizers: complete ? finalizers : [...finalizers, cleanupFinalizer] },
      status: { loadBalancer: { ingress: addresses.map((ip) => ({ ip, ipMode: 'VIP' })) } },
    });
    events.event({ kind: 'Service', ...service }, 'Normal', 'EnsuredLoadBalancer', 'Ensured load balancer');
  }

  async function withdraw(key: string, service: Service): Promise<void> {
    events.event({ kind: 'Service', ...service }, 'Normal', 'DeletingLoadBalancer', 'Deleting load balancer');
    const finalizers = (service.metadata.finalizers ?? []).filter((name) => name !== cleanupFinalizer);
    await write(service, { metadata: { finalizers }, status: { loadBalancer: { ingress: null } } });
    release(key);
    events.event({ kind: 'Service', ...service }, 'Normal', 'DeletedLoadBalancer', 'Deleted load balancer');
  }

  /** By the status subresource, with the version that was judged, so that nobody's finalizer is lost. */
  async function write(
    { metadata: { name = '', namespace = '', resourceVersion } }: Service,
    { metadata, status }: { metadata: object; status: object },
  ): Promise<void> {
    await client.patch(resources.services, name, {
      namespace,
      type: 'merge',
      subresource: 'status',
      body: { metadata: { ...metadata, resourceVersion }, status },
    });
  }

  return { queues: [queue] };
}

function addressesOf({ status }: Service): string[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip !== undefined && familyOf(ip) ? [ip] : []));
}

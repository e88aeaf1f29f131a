// SPDX-License-Identifier: Apache-2.0
// Says of ServiceCIDRs that they are Ready, so that the API server gives their addresses out, and keeps one that is being
// deleted until nobody has an address of it, unless another one has the same addresses.
import type { Condition, IPAddress, ServiceCIDR } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { containsAddress, parsePrefix, prefixContains } from '../../network/addresses.ts';
import { setCondition } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

export const serviceCidrController: Controller = {
  name: 'service-cidr-controller',
  serviceAccount: 'service-cidrs-controller',
  setup,
};

export const cidrFinalizer = 'networking.k8s.io/service-cidr-finalizer';

export interface CidrPlan {
  readonly finalizers: readonly string[];
  readonly ready: Condition;
}

/** What a ServiceCIDR is to look like, given all others and the addresses that are in use. Pure. */
export function planCidr(cidr: ServiceCIDR, others: readonly ServiceCIDR[], addresses: readonly IPAddress[]): CidrPlan {
  const finalizers = cidr.metadata.finalizers ?? [];
  if (cidr.metadata.deletionTimestamp === undefined) {
    const kept = finalizers.includes(cidrFinalizer) ? finalizers : [...finalizers, cidrFinalizer];
    return { finalizers: kept, ready: condition('True', '', 'Kubernetes Service CIDR is ready') };
  }
  const usable = others.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const elsewhere = usable.flatMap(({ spec }) => spec?.cidrs ?? []).map(parsePrefix);
  const orphaned = (cidr.spec?.cidrs ?? [])
    .map(parsePrefix)
    .filter((own) => !elsewhere.some((other) => prefixContains(other, own)));
  const inUse = addresses.some(({ metadata: { name = '' } }) => {
    const has = (prefix: ReturnType<typeof parsePrefix>): boolean => containsAddress(prefix, name);
    return orphaned.some(has) && !elsewhere.some(has);
  });
  const message = inUse
    ? 'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR'
    : 'ServiceCIDR is being deleted';
  return {
    finalizers: inUse ? finalizers : finalizers.filter((name) => name !== cidrFinalizer),
    ready: condition('False', 'Terminating', message),
  };
}

function setup({ client, informers, now }: ControllerContext): Running {
  const cidrs = informers.get<ServiceCIDR>(resources.serviceCIDRs);
  const addresses = informers.get<IPAddress>(resources.ipAddresses);
  const queue = new WorkQueue({ name: 'service-cidr', reconcile });
  /** Those that wait for something else to change. */
  const requeueDeleted = (): void => {
    for (const cidr of cidrs.list()) if (cidr.metadata.deletionTimestamp !== undefined) queue.add(keyOf(cidr));
  };
  cidrs.onChange(({ type, object }) => {
    if (type !== 'deleted') queue.add(keyOf(object));
    requeueDeleted();
  });
  addresses.onChange(({ type }) => {
    if (type === 'deleted') requeueDeleted();
  });

  async function reconcile(name: string): Promise<void> {
    const cidr = cidrs.get(name);
    if (cidr === undefined) return;
    const others = cidrs.list().filter((other) => other.metadata.name !== name);
    // An address that was given out a moment ago must not be missed.
    const used =
      cidr.metadata.deletionTimestamp === undefined ? [] : (await client.list<IPAddress>(resources.ipAddresses)).items;
    const plan = planCidr(cidr, others, used);
    try {
      const conditions = setCondition(cidr.status?.conditions, plan.ready, now());
      const leaves = plan.finalizers.length < (cidr.metadata.finalizers ?? []).length;
      if (!leaves && !sameConditions(conditions, cidr.status?.conditions)) {
        await client.patch(resources.serviceCIDRs, name, {
          type: 'merge',
          subresource: 'status',
          body: { status: { conditions } },
        });
      }
      if (plan.finalizers.length !== (cidr.metadata.finalizers ?? []).length) {
        const { resourceVersion } = cidr.metadata;
        await client.patch(resources.serviceCIDRs, name, {
          type: 'merge',
          body: { metadata: { finalizers: plan.finalizers, ...(leaves && { resourceVersion }) } },
        });
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return { queues: [queue] };
}

function condition(status: 'True' | 'False', reason: string, message: string): Condition {
  return { type: 'Ready', status, reason, message, lastTransitionTime: '' };
}

function sameConditions(a: readonly Condition[], b: readonly Condition[] = []): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

// SPDX-License-Identifier: Apache-2.0
// Where an Ingress is reached: status.loadBalancer is that of the Service before the proxy, or the proxy's own node while there is none.

import { isNotFound, type Client } from '../machinery/client.ts';
import { logger } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import type { Ingress, IngressLoadBalancerIngress, Service } from '../machinery/api-types.ts';

const log = logger('ingress-status');

/** Writes only where it is something else. An Ingress that is gone meanwhile is passed over. */
export async function publishAddresses(
  client: Client,
  ingresses: readonly Ingress[],
  from: { readonly service: Service | undefined; readonly fallback: readonly string[] },
): Promise<void> {
  const wanted = addressesOf(from.service, from.fallback);
  for (const { metadata, status } of ingresses) {
    if (JSON.stringify(status?.loadBalancer?.ingress ?? []) === JSON.stringify(wanted)) continue;
    const { name = '', namespace = '' } = metadata;
    try {
      await client.patch(resources.ingresses, name, {
        namespace,
        type: 'merge',
        subresource: 'status',
        body: { status: { loadBalancer: { ingress: wanted } } },
      });
    } catch (error) {
      if (!isNotFound(error)) log.warn('a status could not be written', { ingress: `${namespace}/${name}`, error });
    }
  }
}

export function addressesOf(service: Service | undefined, fallback: readonly string[]): IngressLoadBalancerIngress[] {
  const balanced = (service?.status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) =>
    ip === undefined ? { hostname: hostname ?? '' } : { ip },
  );
  return balanced.length > 0 ? balanced : fallback.filter((address) => address !== '').map((ip) => ({ ip }));
}

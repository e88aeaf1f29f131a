// SPDX-License-Identifier: Apache-2.0
// IPAddress objects: one for each address of a Service, made with it and gone with it, so that anybody can see who has an
// address. What a crash left wrong is put right from time to time.
import type { IPAddress, Service } from '../../../machinery/api-types.ts';
import { canonicalAddress } from '../../../network/addresses.ts';
import { isReason } from '../../status.ts';
import { familyNameOf, needsClusterIP } from '../core/service-fields.ts';
import { typed } from '../define.ts';
import type { KubeObject, Registry } from '../definition.ts';

const resource = 'ipaddresses.networking.k8s.io';
const managedBy = 'ipaddress.kubernetes.io/managed-by';
const allocator = 'ipallocator.k8s.io';

/** The addresses that a Service has or asks for. */
export function addressesOf(service: Service): string[] {
  if (!needsClusterIP(service)) return [];
  const { clusterIP = '', clusterIPs = [clusterIP] } = service.spec ?? {};
  return clusterIPs.filter((address) => address !== '' && address !== 'None');
}

/** Whether there is an object for the address, whoever made it. */
export function isHeld(registry: Registry, address: string): boolean {
  return registry.get(resource, undefined, canonicalAddress(address)) !== undefined;
}

/** Errors: `AlreadyExists` where something else has the address. */
export async function holdAddress(registry: Registry, address: string, { metadata }: Service): Promise<void> {
  const { namespace = '', name = '' } = metadata;
  await registry.create(resource, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IPAddress',
    metadata: {
      name: canonicalAddress(address),
      labels: { [managedBy]: allocator, 'ipaddress.kubernetes.io/ip-family': familyNameOf(address) },
    },
    spec: { parentRef: { group: '', resource: 'services', namespace, name } },
  } as KubeObject);
}

export async function dropAddress(registry: Registry, address: string): Promise<void> {
  await registry.delete(resource, undefined, canonicalAddress(address)).catch((error: unknown) => {
    if (!isReason(error, 'NotFound')) throw error;
  });
}

/**
 * Makes missing objects, and removes those of ours that no Service has. `suspects` are names that were without a Service at the last
 * call: a Service that is being written has its object first. Resolves to the suspects for the next call.
 */
export async function repairAddresses(registry: Registry, suspects: ReadonlySet<string>): Promise<Set<string>> {
  const wanted = new Map<string, Service>();
  for (const service of typed<Service>(registry.list('services'))) {
    for (const address of addressesOf(service)) wanted.set(canonicalAddress(address), service);
  }
  const orphans = new Set<string>();
  for (const { metadata } of typed<IPAddress>(registry.list(resource))) {
    const { name = '', labels } = metadata;
    if (wanted.delete(name) || labels?.[managedBy] !== allocator) continue;
    if (suspects.has(name)) await dropAddress(registry, name);
    else orphans.add(name);
  }
  for (const [address, service] of wanted) {
    await holdAddress(registry, address, service).catch((error: unknown) => {
      if (!isReason(error, 'AlreadyExists')) throw error;
    });
  }
  return orphans;
}

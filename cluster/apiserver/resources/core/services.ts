// SPDX-License-Identifier: Apache-2.0
// Services: a stable address in front of pods.
import type { Service } from '../../../machinery/api-types.ts';
import { ServiceAllocator } from '../allocation/service-allocator.ts';
import type { ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { ResourceDefinition } from '../definition.ts';
import { mapText, orNone, text, wide } from '../printing/columns.ts';
import { serviceProxy } from '../subresources/proxies.ts';
import { dnsLabelName } from '../validation/names.ts';
import { defaultService, dropForType, keepAllocated, normalizeAddresses, setFamilies } from './service-fields.ts';
import { validateService, validateServiceUpdate } from './service-rules.ts';

export function services(config: ResourcesConfig): ResourceDefinition {
  const allocator = new ServiceAllocator(config.serviceClusterIPRanges, config.serviceNodePortRange);
  const { families } = allocator;
  return define<Service>({
    group: '',
    plural: 'services',
    kind: 'Service',
    namespaced: true,
    shortNames: ['svc'],
    categories: ['all'],
    nameRule: dnsLabelName,
    default: defaultService,
    prepareForCreate(service) {
      normalizeAddresses(service);
      setFamilies(service, undefined, families);
    },
    prepareForUpdate(service, old) {
      keepAllocated(service, old);
      normalizeAddresses(service, old);
      dropForType(service, old);
      setFamilies(service, old, families);
    },
    validate: (service) => validateService(service, families),
    validateUpdate: validateServiceUpdate,
    status: true,
    initialStatus: () => ({ loadBalancer: {} }),
    allocate: (service, old, context) => allocator.allocate(service, old, context),
    release: (service, registry) => allocator.release(service, registry),
    subresources: { proxy: serviceProxy },
    selectableFields: (service) => ({
      'spec.clusterIP': service.spec?.clusterIP ?? '',
      'spec.type': service.spec?.type ?? '',
    }),
    columns: [
      text('Type', (service) => service.spec?.type ?? ''),
      text('Cluster-IP', (service) => orNone(service.spec?.clusterIP)),
      text('External-IP', externalAddress),
      text('Port(s)', ports),
    ],
    wideColumns: [wide(text('Selector', (service) => mapText(service.spec?.selector)))],
  });
}

function externalAddress({ spec, status }: Service): string {
  const given = spec?.externalIPs ?? [];
  switch (spec?.type) {
    case 'ExternalName':
      return spec.externalName ?? '';
    case 'LoadBalancer': {
      const ingress = (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip ?? hostname ?? '');
      const all = [...ingress, ...given];
      return all.length === 0 ? '<pending>' : all.join(',');
    }
    default:
      return given.length === 0 ? '<none>' : given.join(',');
  }
}

function ports({ spec }: Service): string {
  const list = (spec?.ports ?? []).map(({ port, nodePort = 0, protocol }) =>
    nodePort === 0 ? `${port}/${protocol}` : `${port}:${nodePort}/${protocol}`,
  );
  return orNone(list.join(','));
}

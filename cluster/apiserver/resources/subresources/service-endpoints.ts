// SPDX-License-Identifier: Apache-2.0
// Finds an address behind a Service, for the API server's own calls into the cluster.
import type { EndpointSlice, Service } from '../../../machinery/api-types.ts';
import { serviceUnavailable } from '../../status.ts';
import { typed } from '../define.ts';
import type { KubeObject, Registry } from '../definition.ts';

/**
 * A ready endpoint of one port of the service, by name or number (empty: its first), chosen at random.
 * Errors: 503 in upstream's words when there is no such port or no endpoint.
 */
export function readyEndpoint(
  object: KubeObject,
  asked: string | number,
  registry: Registry,
): { readonly host: string; readonly port: number } {
  const service = object as unknown as Service;
  const name = service.metadata.name ?? '';
  const ports = service.spec?.ports ?? [];
  const wanted =
    asked === '' ? ports[0] : ports.find((port) => port.name === asked || String(port.port) === String(asked));
  if (wanted === undefined) {
    throw serviceUnavailable(`no service port ${JSON.stringify(asked)} found for service ${JSON.stringify(name)}`);
  }
  const slices = typed<EndpointSlice>(registry.list('endpointslices.discovery.k8s.io', service.metadata.namespace));
  const found = slices
    .filter((slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === name)
    .flatMap((slice) => {
      const port = slice.ports?.find((candidate) => (candidate.name ?? '') === (wanted.name ?? ''))?.port;
      return port === undefined
        ? []
        : (slice.endpoints ?? [])
            .filter((endpoint) => endpoint.conditions?.ready !== false)
            .flatMap((endpoint) => endpoint.addresses.slice(0, 1).map((host) => ({ host, port })));
    });
  const chosen = found[Math.floor(Math.random() * found.length)];
  if (chosen === undefined) {
    throw serviceUnavailable(`no endpoints available for service ${JSON.stringify(name)}`);
  }
  return chosen;
}

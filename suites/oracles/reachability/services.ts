// SPDX-License-Identifier: Apache-2.0
/**
 * Where a connection ends that is opened to a Service, a node or an address: the endpoints after translation, one of which is chosen for
 * each connection.
 */
import {
  isPod,
  type Family,
  type Model,
  type ModelPod,
  type ModelService,
  type Party,
  type TransportProtocol,
} from './model.ts';
import { familyOf, sameAddress } from './selectors.ts';

/** What a client names: a pod, an address, or a Service. */
export type Target = Party | { readonly service: ModelService };

export interface Arrival {
  readonly destination: Party;
  readonly port: number;
  readonly family: Family | undefined;
  /** A Service rewrote address and port. */
  readonly throughService: boolean;
  /** How it came there, in words; empty where nothing was translated. */
  readonly via: string;
}

/** Empty where no endpoint serves the port. Headless Services do not translate: their port is the one that was asked for. */
export function resolveTarget(
  model: Model,
  target: Target,
  { source, protocol, port }: { readonly source: Party; readonly protocol: TransportProtocol; readonly port: number },
): Arrival[] {
  const services = model.services ?? [];
  if ('service' in target) {
    const { service } = target;
    if (service.clusterIPs.length > 0) return throughPort({ model, service, source, protocol, port, how: 'ClusterIP' });
    return podsOf(model, service).map((pod) => ({
      destination: pod,
      port,
      family: undefined,
      throughService: false,
      via: `headless Service ${nameOf(service)}`,
    }));
  }
  if (isPod(target)) return [direct(target, port)];
  const { address } = target;
  const named = (addresses: readonly string[] = []): boolean => addresses.some((one) => sameAddress(one, address));
  const family = familyOf(address) === 0 ? undefined : (familyOf(address) as Family);
  const service = services.find((one) => named(one.clusterIPs) || named(one.externalIPs));
  if (service !== undefined) {
    const how = named(service.clusterIPs) ? 'ClusterIP' : 'externalIP';
    return throughPort({ model, service, source, protocol, port, how, family });
  }
  const node = (model.nodes ?? []).find(({ addresses }) => named(addresses));
  const byNodePort = services.find(
    ({ ports }) => node !== undefined && ports.some((one) => one.nodePort === port && one.protocol === protocol),
  );
  const servicePort = byNodePort?.ports.find((one) => one.nodePort === port && one.protocol === protocol);
  if (node !== undefined && byNodePort !== undefined && servicePort !== undefined) {
    const how = `NodePort ${port} of ${node.name}`;
    return throughPort({
      model,
      service: byNodePort,
      source,
      protocol,
      port: servicePort.port,
      how,
      family,
      onNode: node.name,
    });
  }
  const pod = model.pods.find((one) => one.hostNetwork !== true && named(one.addresses));
  return [{ ...direct(pod ?? target, port), family }];
}

interface Translation {
  readonly model: Model;
  readonly service: ModelService;
  readonly source: Party;
  readonly protocol: TransportProtocol;
  readonly port: number;
  readonly how: string;
  readonly family?: Family | undefined;
  /** The node that was addressed, of a NodePort. */
  readonly onNode?: string;
}

function throughPort({ model, service, source, protocol, port, how, family, onNode }: Translation): Arrival[] {
  const servicePort = service.ports.find((one) => one.port === port && one.protocol === protocol);
  if (servicePort === undefined) return [];
  const arrival = (destination: Party, endpointPort: number): Arrival => ({
    destination,
    port: endpointPort,
    family,
    throughService: true,
    via: `${how} of Service ${nameOf(service)} port ${port}`,
  });
  if (service.selector === undefined) {
    return (service.endpoints ?? [])
      .filter(({ portName }) => portName === servicePort.name)
      .map((endpoint) => {
        const pod = model.pods.find(({ addresses }) => addresses.some((one) => sameAddress(one, endpoint.address)));
        return arrival(pod ?? { address: endpoint.address }, endpoint.port);
      });
  }
  // Policy Local keeps to endpoints of the node that translates.
  const localTo =
    onNode !== undefined
      ? service.externalTrafficPolicy === 'Local'
        ? onNode
        : undefined
      : service.internalTrafficPolicy === 'Local' && isPod(source)
        ? source.node
        : undefined;
  return podsOf(model, service)
    .filter(({ node }) => localTo === undefined || node === localTo)
    .flatMap((pod) => {
      const { targetPort } = servicePort;
      const number = typeof targetPort === 'number' ? targetPort : pod.namedPorts[`${protocol}/${targetPort}`];
      return number === undefined ? [] : [arrival(pod, number)];
    });
}

function podsOf(model: Model, { namespace, selector, publishNotReadyAddresses }: ModelService): ModelPod[] {
  if (selector === undefined) return [];
  return model.pods.filter(
    (pod) =>
      pod.namespace === namespace &&
      (pod.ready !== false || publishNotReadyAddresses === true) &&
      Object.entries(selector).every(([key, value]) => pod.labels[key] === value),
  );
}

function direct(destination: Party, port: number): Arrival {
  return { destination, port, family: undefined, throughService: false, via: '' };
}

function nameOf({ namespace, name }: ModelService): string {
  return `${namespace}/${name}`;
}

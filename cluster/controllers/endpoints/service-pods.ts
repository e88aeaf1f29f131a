// SPDX-License-Identifier: Apache-2.0
// What Endpoints and EndpointSlices have in common: which pods a Service selects, their ports, and when a pod's change
// matters to which Services.
import type { Pod, Protocol, Service, ServicePort } from '../../machinery/api-types.ts';
import { keyOf } from '../../machinery/informer.ts';
import type { Informer } from '../../machinery/informer.ts';
import { isReady } from '../pod-state.ts';

export interface ResolvedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly appProtocol?: string;
}

/** True for a Service whose endpoints are made from pods here. */
export function hasSelector(service: Service): boolean {
  return Object.keys(service.spec?.selector ?? {}).length > 0 && service.spec?.type !== 'ExternalName';
}

export function selects(service: Service, labels: Record<string, string> | undefined): boolean {
  if (!hasSelector(service)) return false;
  return Object.entries(service.spec?.selector ?? {}).every(([key, value]) => labels?.[key] === value);
}

export function isHeadless(service: Service): boolean {
  return service.spec?.clusterIP === 'None';
}

/** The Service's ports as this pod has them; a named target port that the pod lacks is left out. */
export function portsOf(service: Service, pod: Pod): ResolvedPort[] {
  const ports: ResolvedPort[] = [];
  for (const port of service.spec?.ports ?? []) {
    const number = targetPort(port, pod);
    if (number === undefined) continue;
    const { name = '', protocol = 'TCP', appProtocol } = port;
    ports.push({ name, port: number, protocol, ...(appProtocol !== undefined && { appProtocol }) });
  }
  return ports;
}

/** `spec.hostname` counts only for the pod's own headless Service. */
export function hostnameFor(service: Service, pod: Pod): string | undefined {
  return pod.spec?.hostname && pod.spec.subdomain === service.metadata.name ? pod.spec.hostname : undefined;
}

/** Calls `wake` with the key of each Service that a pod's change concerns. */
export function watchPods(pods: Informer<Pod>, services: Informer<Service>, wake: (key: string) => void): void {
  pods.onChange(({ object, old }) => {
    if (old && !matters(object, old)) return;
    for (const service of services.list(object.metadata.namespace)) {
      if (selects(service, object.metadata.labels) || (old && selects(service, old.metadata.labels)))
        wake(keyOf(service));
    }
  });
}

function matters(pod: Pod, old: Pod): boolean {
  const view = (one: Pod): string =>
    JSON.stringify([
      one.metadata.labels,
      one.metadata.deletionTimestamp !== undefined,
      one.status?.podIPs,
      one.status?.podIP,
      one.status?.phase,
      one.spec?.nodeName,
      one.spec?.hostname,
      isReady(one),
    ]);
  return view(pod) !== view(old);
}

function targetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target === 0 ? port.port : target;
  const sidecars = (pod.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  for (const container of [...(pod.spec?.containers ?? []), ...sidecars]) {
    for (const { name, containerPort, protocol = 'TCP' } of container.ports ?? []) {
      if (name === target && protocol === (port.protocol ?? 'TCP')) return containerPort;
    }
  }
  return undefined;
}

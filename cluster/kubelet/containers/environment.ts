// SPDX-License-Identifier: Apache-2.0
// A container's environment: service variables, envFrom, env with $(VAR) references, pod fields, resources, config maps and secrets. Pure;
// objects are looked up through functions. Errors are ConfigurationErrors, which a pod shows as CreateContainerConfigError.
import type { Container, EnvVar, Pod, Service } from '../../machinery/api-types.ts';
import { containerAmounts } from '../../machinery/pod-resources.ts';
import { toMilli, parseQuantity } from '../../machinery/quantities.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';

/** The pod can't be made as it stands, but may be once other objects exist. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

export interface FieldContext {
  readonly pod: Pod;
  readonly podIPs: readonly string[];
  readonly hostIPs: readonly string[];
  /** Allocatable of the node: cpu in thousandths, the rest in units. Stands in for a limit that isn't set. */
  readonly allocatable: Readonly<Record<string, number>>;
}

export interface EnvironmentInput extends FieldContext {
  readonly container: Pick<Container, 'name' | 'env' | 'envFrom' | 'resources'>;
  /** Services of the pod's namespace, and default/kubernetes. */
  readonly services: readonly Service[];
  /** Undefined when there is no such object. Values are bytes. */
  readonly configMap: (name: string) => Readonly<Record<string, Buffer>> | undefined;
  readonly secret: (name: string) => Readonly<Record<string, Buffer>> | undefined;
}

/** Variables in order; later references see earlier values. */
export function makeEnvironment(input: EnvironmentInput): Map<string, string> {
  const { container } = input;
  const serviceVariables = servicesEnvironment(input.pod, input.services);
  const result = new Map<string, string>();
  for (const source of container.envFrom ?? []) {
    for (const [kind, reference] of [
      ['configmap', source.configMapRef],
      ['secret', source.secretRef],
    ] as const) {
      if (reference === undefined) continue;
      const data = (kind === 'configmap' ? input.configMap : input.secret)(reference.name ?? '');
      if (data === undefined) {
        if (reference.optional) continue;
        throw new ConfigurationError(`${kind} "${reference.name}" not found`);
      }
      for (const [key, value] of Object.entries(data))
        result.set(`${source.prefix ?? ''}${key}`, value.toString('utf8'));
    }
  }
  const lookup = (name: string): string | undefined => result.get(name) ?? serviceVariables.get(name);
  for (const variable of container.env ?? []) {
    const value = valueOf(variable, input, lookup);
    if (value !== undefined) result.set(variable.name, value);
  }
  for (const [name, value] of serviceVariables) if (!result.has(name)) result.set(name, value);
  return result;
}

function valueOf(
  variable: EnvVar,
  input: EnvironmentInput,
  lookup: (name: string) => string | undefined,
): string | undefined {
  const from = variable.valueFrom;
  if (from === undefined) return expand(variable.value ?? '', lookup);
  if (from.fieldRef) return fieldValue(from.fieldRef.fieldPath, input);
  if (from.resourceFieldRef) {
    const { containerName, resource, divisor } = from.resourceFieldRef;
    const name = containerName || input.container.name;
    const spec = specOf(input.pod);
    const target =
      [...spec.containers, ...(spec.initContainers ?? [])].find((one) => one.name === name) ?? input.container;
    return resourceValue(target, resource, { divisor, allocatable: input.allocatable });
  }
  for (const [kind, reference] of [
    ['configmap', from.configMapKeyRef],
    ['secret', from.secretKeyRef],
  ] as const) {
    if (reference === undefined) continue;
    const data = (kind === 'configmap' ? input.configMap : input.secret)(reference.name ?? '');
    const value = data?.[reference.key];
    if (value !== undefined) return value.toString('utf8');
    if (reference.optional) return undefined;
    if (data === undefined) throw new ConfigurationError(`${kind} "${reference.name}" not found`);
    const { namespace } = identityOf(input.pod);
    const Kind = kind === 'configmap' ? 'ConfigMap' : 'Secret';
    throw new ConfigurationError(`couldn't find key ${reference.key} in ${Kind} ${namespace}/${reference.name}`);
  }
  return undefined;
}

/** Replaces $(NAME) by its value; $$ is one dollar; a reference to nothing stays as it is written. */
export function expand(text: string, lookup: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(\$|\(([^)]*)\))/g, (whole, token: string, name: string | undefined) => {
    if (token === '$') return '$';
    return lookup(name ?? '') ?? whole;
  });
}

/** The value of a pod field as env and the downward API spell them. Errors name a path that isn't supported. */
export function fieldValue(path: string, context: Omit<FieldContext, 'allocatable'>): string {
  const { pod } = context;
  const { metadata } = pod;
  const spec = specOf(pod);
  const keyed = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (keyed) return metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2] ?? ''] ?? '';
  switch (path) {
    case 'metadata.name':
      return metadata.name ?? '';
    case 'metadata.namespace':
      return metadata.namespace ?? '';
    case 'metadata.uid':
      return metadata.uid ?? '';
    case 'metadata.labels':
      return formatMap(metadata.labels);
    case 'metadata.annotations':
      return formatMap(metadata.annotations);
    case 'spec.nodeName':
      return spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? '';
    case 'status.hostIP':
      return context.hostIPs[0] ?? '';
    case 'status.hostIPs':
      return context.hostIPs.join(',');
    case 'status.podIP':
      return context.podIPs[0] ?? '';
    case 'status.podIPs':
      return context.podIPs.join(',');
    default:
      throw new ConfigurationError(`unsupported fieldPath: ${path}`);
  }
}

/** `key="value"` per line, sorted, as the downward API writes maps. */
function formatMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(map ?? {})
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}

/** `limits.cpu` and the like, divided and rounded up. */
export function resourceValue(
  container: Pick<Container, 'resources'>,
  resource: string,
  options: { divisor: string | undefined; allocatable: Readonly<Record<string, number>> },
): string {
  const match = /^(limits|requests)\.(.+)$/.exec(resource);
  if (!match) throw new ConfigurationError(`unsupported container resource: ${resource}`);
  const kind = match[1] as 'limits' | 'requests';
  const name = match[2] ?? '';
  const own = containerAmounts(container, kind)[name];
  const amount = own ?? (kind === 'limits' ? (options.allocatable[name] ?? 0) : 0);
  const divisor = options.divisor && parseQuantity(options.divisor) !== 0n ? options.divisor : '1';
  // Both sides in thousandths for cpu; other amounts are whole units.
  const milli = name === 'cpu' ? amount : amount * 1000;
  return String(Math.ceil(milli / toMilli(divisor)));
}

/** {NAME}_SERVICE_HOST and friends, and the older link variables, for Services with a cluster IP. */
export function servicesEnvironment(pod: Pod, services: readonly Service[]): Map<string, string> {
  const { namespace } = identityOf(pod);
  const links = specOf(pod).enableServiceLinks ?? true;
  const result = new Map<string, string>();
  const chosen = new Map<string, Service>();
  for (const service of services) {
    const { name = '', namespace: home } = service.metadata;
    const clusterIP = service.spec?.clusterIP ?? '';
    if (clusterIP === '' || clusterIP === 'None') continue;
    if (home === 'default' && name === 'kubernetes' && !chosen.has(name)) chosen.set(name, service);
    if (home === namespace && links) chosen.set(name, service);
  }
  for (const [name, service] of chosen) {
    const prefix = name.toUpperCase().replaceAll('-', '_');
    const host = service.spec?.clusterIP ?? '';
    const ports = service.spec?.ports ?? [];
    const first = ports[0];
    if (first === undefined) continue;
    const bracketed = host.includes(':') ? `[${host}]` : host;
    const link = (port: (typeof ports)[number]): string =>
      `${(port.protocol ?? 'TCP').toLowerCase()}://${bracketed}:${port.port}`;
    result.set(`${prefix}_SERVICE_HOST`, host);
    result.set(`${prefix}_SERVICE_PORT`, String(first.port));
    for (const port of ports) {
      if (port.name)
        result.set(`${prefix}_SERVICE_PORT_${port.name.toUpperCase().replaceAll('-', '_')}`, String(port.port));
    }
    result.set(`${prefix}_PORT`, link(first));
    for (const port of ports) {
      const protocol = port.protocol ?? 'TCP';
      const portPrefix = `${prefix}_PORT_${port.port}_${protocol.toUpperCase()}`;
      result.set(portPrefix, link(port));
      result.set(`${portPrefix}_PROTO`, protocol.toLowerCase());
      result.set(`${portPrefix}_PORT`, String(port.port));
      result.set(`${portPrefix}_ADDR`, host);
    }
  }
  return result;
}

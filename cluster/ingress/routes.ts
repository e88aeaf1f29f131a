// SPDX-License-Identifier: Apache-2.0
// From Ingresses and what they refer to, to what a proxy must do: which backend answers which host and path, which
// addresses a backend has, which certificate is shown for which name. Pure. What an Ingress asks for in vain is returned as problems that
// name its field; the rest of it is served.

import { X509Certificate, createPrivateKey } from 'node:crypto';

import type {
  EndpointSlice,
  Ingress,
  IngressBackend,
  IngressClass,
  Secret,
  Service,
  ServicePort,
} from '../machinery/api-types.ts';

export interface IngressObjects {
  readonly ingresses: readonly Ingress[];
  readonly classes: readonly IngressClass[];
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, service: string): readonly EndpointSlice[];
  secret(namespace: string, name: string): Secret | undefined;
}

export interface Routes {
  /** No two have the same host, path and type. */
  readonly paths: readonly PathRoute[];
  /** Backends of hosts for paths that no rule has; `''` is every host. */
  readonly hostDefaults: ReadonlyMap<string, string>;
  /** Addresses (`10.0.0.1:80`, `[fd00::1]:80`) by backend. */
  readonly backends: ReadonlyMap<string, readonly string[]>;
  readonly certificates: readonly Certificate[];
  /** Ingresses of our classes, oldest first. */
  readonly served: readonly Ingress[];
  readonly problems: readonly Problem[];
}

export interface PathRoute {
  /** `''` is every host, `*.example.com` every name one label longer. */
  readonly host: string;
  readonly path: string;
  readonly type: 'Exact' | 'Prefix';
  readonly backend: string;
}

export interface Certificate {
  readonly name: string;
  /** Key and chain. */
  readonly pem: string;
  /** Names for which it is shown; empty: those in the certificate. */
  readonly hosts: readonly string[];
}

export interface Problem {
  readonly ingress: Ingress;
  readonly message: string;
}

/** Answers 503: the rule stands, but what it leads to does not exist. */
export const unavailableBackend = '_unavailable';

const oldClassAnnotation = 'kubernetes.io/ingress.class';

export function routesOf(objects: IngressObjects, controllerName: string): Routes {
  const ours = new Set(
    objects.classes.filter(({ spec }) => spec?.controller === controllerName).map(({ metadata }) => metadata.name),
  );
  const served = objects.ingresses
    .filter(({ metadata, spec }) => ours.has(spec?.ingressClassName ?? metadata.annotations?.[oldClassAnnotation]))
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .toSorted(byAge);
  const builder = new RoutesBuilder(objects);
  for (const ingress of served) builder.add(ingress);
  return { ...builder.routes(), served };
}

/** Where two Ingresses want the same, the older one has it. */
function byAge(one: Ingress, other: Ingress): number {
  const key = ({ metadata }: Ingress): string =>
    `${metadata.creationTimestamp ?? ''} ${metadata.namespace}/${metadata.name}`;
  return key(one) < key(other) ? -1 : 1;
}

class RoutesBuilder {
  readonly #objects: IngressObjects;
  readonly #paths = new Map<string, PathRoute & { readonly owner: string }>();
  readonly #hostDefaults = new Map<string, string>();
  readonly #backends = new Map<string, readonly string[]>();
  readonly #certificates = new Map<string, Certificate>();
  readonly #problems: Problem[] = [];

  constructor(objects: IngressObjects) {
    this.#objects = objects;
  }

  routes(): Omit<Routes, 'served'> {
    return {
      paths: [...this.#paths.values()].map(({ host, path, type, backend }) => ({ host, path, type, backend })),
      hostDefaults: this.#hostDefaults,
      backends: this.#backends,
      certificates: [...this.#certificates.values()],
      problems: this.#problems,
    };
  }

  add(ingress: Ingress): void {
    const { spec = {} } = ingress;
    const hosts = new Set<string>();
    for (const [index, rule] of (spec.rules ?? []).entries()) {
      const host = (rule.host ?? '').toLowerCase();
      hosts.add(host);
      for (const [place, { path, pathType, backend }] of (rule.http?.paths ?? []).entries()) {
        const field = `spec.rules[${index}].http.paths[${place}]`;
        this.#addPath(ingress, field, { host, path: path ?? '', pathType: pathType ?? '', backend });
      }
    }
    if (spec.defaultBackend !== undefined) {
      const backend = this.#backend(ingress, 'spec.defaultBackend', spec.defaultBackend);
      for (const host of hosts.size === 0 ? [''] : hosts) {
        if (!this.#hostDefaults.has(host)) this.#hostDefaults.set(host, backend);
      }
    }
    this.#addCertificates(ingress);
  }

  #addPath(
    ingress: Ingress,
    field: string,
    rule: { readonly host: string; readonly path: string; readonly pathType: string; readonly backend: IngressBackend },
  ): void {
    const { host } = rule;
    // What ImplementationSpecific means is ours to say: Prefix.
    const type = rule.pathType === 'Exact' ? 'Exact' : 'Prefix';
    // A prefix is made of whole elements: whether it ends in a slash makes no difference.
    const path = type === 'Exact' ? rule.path : rule.path.replace(/\/+$/, '') || '/';
    if (!path.startsWith('/') || /\s/.test(path)) {
      this.#complain(ingress, `${field}.path`, `"${rule.path}" is no path that a request can have`);
      return;
    }
    const key = `${type} ${host} ${path}`;
    const taken = this.#paths.get(key);
    if (taken !== undefined) {
      const where = host === '' ? 'every host' : `host ${host}`;
      this.#complain(
        ingress,
        `${field}.path`,
        `${type} ${path} of ${where} belongs to the older Ingress ${taken.owner}`,
      );
      return;
    }
    const backend = this.#backend(ingress, `${field}.backend`, rule.backend);
    this.#paths.set(key, { host, path, type, backend, owner: nameOf(ingress) });
  }

  /** The backend's name; the one that is never available where the Ingress leads nowhere. */
  #backend(ingress: Ingress, field: string, { service: wanted, resource }: IngressBackend): string {
    const nowhere = (at: string, message: string): string => {
      this.#complain(ingress, at, message);
      return unavailableBackend;
    };
    const namespace = ingress.metadata.namespace ?? '';
    if (resource !== undefined) return nowhere(`${field}.resource`, 'only Services can be backends here');
    if (wanted === undefined) return nowhere(field, 'it names no Service');
    const service = this.#objects.service(namespace, wanted.name);
    if (service === undefined) {
      return nowhere(`${field}.service.name`, `the namespace ${namespace} has no Service "${wanted.name}"`);
    }
    if (service.spec?.type === 'ExternalName') {
      return nowhere(`${field}.service.name`, `the Service "${wanted.name}" is an ExternalName and has no endpoints`);
    }
    const { name: portName, number } = wanted.port ?? {};
    const port = service.spec?.ports?.find((one) => (portName ? one.name === portName : one.port === number));
    if (port === undefined || (port.protocol ?? 'TCP') !== 'TCP') {
      return nowhere(
        `${field}.service.port`,
        `the Service "${wanted.name}" has no TCP port ${portName ? `"${portName}"` : number}`,
      );
    }
    const id = `${namespace}_${wanted.name}_${port.port}`;
    if (!this.#backends.has(id)) this.#backends.set(id, this.#addresses(service, port));
    return id;
  }

  /** Ready endpoints; those that still serve while they end, where there are no others. One address family, so that no pod counts twice. */
  #addresses(service: Service, port: ServicePort): string[] {
    const slices = this.#objects.slices(service.metadata.namespace ?? '', service.metadata.name ?? '');
    const family = service.spec?.ipFamilies?.[0] ?? 'IPv4';
    const chosen = slices.some(({ addressType }) => addressType === family)
      ? slices.filter(({ addressType }) => addressType === family)
      : slices.filter(({ addressType }) => addressType !== 'FQDN');
    const [ready, serving] = [new Set<string>(), new Set<string>()];
    for (const { endpoints = [], ports = [], addressType } of chosen) {
      const number = ports.find(({ name }) => (name ?? '') === (port.name ?? ''))?.port;
      if (number === undefined) continue;
      for (const { addresses, conditions } of endpoints) {
        const address = addresses[0];
        if (address === undefined) continue;
        const text = addressType === 'IPv6' ? `[${address}]:${number}` : `${address}:${number}`;
        if (conditions?.ready !== false) ready.add(text);
        else if (conditions.serving === true && conditions.terminating === true) serving.add(text);
      }
    }
    return [...(ready.size > 0 ? ready : serving)].toSorted();
  }

  #addCertificates(ingress: Ingress): void {
    const namespace = ingress.metadata.namespace ?? '';
    for (const [index, { hosts = [], secretName }] of (ingress.spec?.tls ?? []).entries()) {
      // Without a Secret the default certificate is meant.
      if (secretName === undefined || secretName === '') continue;
      const secret = this.#objects.secret(namespace, secretName);
      const problem =
        secret === undefined ? `there is no kubernetes.io/tls Secret "${secretName}"` : keyPairProblem(secret);
      if (secret === undefined || problem !== undefined) {
        this.#complain(ingress, `spec.tls[${index}].secretName`, `${problem}; the default certificate is shown`);
        continue;
      }
      const name = `${namespace}_${secretName}`;
      const before = this.#certificates.get(name)?.hosts;
      const names = hosts.map((host) => host.toLowerCase());
      this.#certificates.set(name, {
        name,
        pem: pemOf(secret),
        // An entry without hosts means all names that the certificate has.
        hosts: before?.length === 0 || names.length === 0 ? [] : [...new Set([...(before ?? []), ...names])],
      });
    }
  }

  #complain(ingress: Ingress, field: string, message: string): void {
    this.#problems.push({ ingress, message: `${field}: ${message}` });
  }
}

export function pemOf({ data = {} }: Secret): string {
  const text = (key: string): string =>
    Buffer.from(data[key] ?? '', 'base64')
      .toString('utf8')
      .trim();
  return `${text('tls.key')}\n${text('tls.crt')}\n`;
}

/** Why a TLS Secret cannot be used; undefined when it can. */
export function keyPairProblem(secret: Secret): string | undefined {
  const name = `the Secret "${secret.metadata.name}"`;
  for (const key of ['tls.crt', 'tls.key']) if (!secret.data?.[key]) return `${name} has no ${key}`;
  const pem = pemOf(secret);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(Buffer.from(secret.data?.['tls.crt'] ?? '', 'base64'));
  } catch {
    return `tls.crt of ${name} is no PEM certificate`;
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(pem))) return `tls.key of ${name} does not belong to its tls.crt`;
  } catch {
    return `tls.key of ${name} is no PEM private key`;
  }
  return undefined;
}

function nameOf({ metadata }: Ingress): string {
  return `${metadata.namespace}/${metadata.name}`;
}

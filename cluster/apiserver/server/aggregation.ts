// SPDX-License-Identifier: Apache-2.0
// API aggregation: group versions whose APIService names a Service are answered by the server behind it. This server
// authenticates and authorizes, then passes the request on with the user's name in headers that its certificate vouches for.
// Upgraded connections are not passed on.
import https from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Logger } from '../../machinery/log.ts';
import type { RemoteVersion } from '../discovery/discovery.ts';
import type { KubeObject, Registry, UserInfo } from '../resources/definition.ts';
import { passedOn } from '../resources/subresources/proxies.ts';
import { readyEndpoint } from '../resources/subresources/service-endpoints.ts';
import { isReason, serviceUnavailable } from '../status.ts';
import { timestamp } from './core.ts';
import type { Exchange } from './exchange.ts';

const resource = 'apiservices.apiregistration.k8s.io';
const checkIntervalMs = 30_000;
const checkTimeoutMs = 5_000;
const discoveryVerbs = new Set(['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']);

/** What other servers believe about the certificate that this one shows them. */
export interface FrontProxy {
  /** PEM; without them other servers take requests for anonymous ones. */
  readonly cert?: string;
  readonly key?: string;
}

export interface AggregatorOptions {
  readonly registry: Registry;
  readonly frontProxy: FrontProxy;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

interface ApiService {
  readonly metadata: KubeObject['metadata'];
  readonly spec: {
    readonly service?: { readonly namespace?: string; readonly name?: string; readonly port?: number };
    readonly group?: string;
    readonly version?: string;
    readonly insecureSkipTLSVerify?: boolean;
    readonly caBundle?: string;
    readonly groupPriorityMinimum?: number;
    readonly versionPriority?: number;
  };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime?: string;
}

type Availability = Pick<Condition, 'status' | 'reason' | 'message'>;

export class Aggregator {
  readonly #options: AggregatorOptions;
  /** By APIService name. */
  readonly #resources = new Map<string, { uid: string; resources: RemoteVersion['resources'] }>();
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  /** Grows when discovery has to be told anew. */
  generation = 0;

  constructor(options: AggregatorOptions) {
    this.#options = options;
    options.signal.addEventListener('abort', () => clearTimeout(this.#timer), { once: true });
  }

  /** Undefined for what this server answers by itself. */
  find(group: string, version: string): ApiService | undefined {
    const found = this.#options.registry.get(resource, undefined, `${version}.${group}`) as ApiService | undefined;
    return found?.spec.service === undefined ? undefined : found;
  }

  /** Group versions of other servers that answer, for discovery. */
  versions(): RemoteVersion[] {
    return this.#remote().flatMap((service) => {
      const known = this.#resources.get(service.metadata.name ?? '');
      const { group = '', version = '', groupPriorityMinimum = 0, versionPriority = 0 } = service.spec;
      return known === undefined || known.uid !== service.metadata.uid
        ? []
        : [{ group, version, groupPriority: groupPriorityMinimum, versionPriority, resources: known.resources }];
    });
  }

  /** Throws 503 when nobody answers. */
  async serve(exchange: Exchange, user: UserInfo, service: ApiService): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const raw = exchange.request();
    const headers = Object.fromEntries(
      Object.entries(passedOn(exchange.headers)).filter(([name]) => !name.startsWith('x-remote-')),
    );
    const sent = https.request({
      ...this.#target(service),
      path: exchange.url,
      method: exchange.method,
      headers: { ...headers, ...identityHeaders(user) },
    });
    sent.on('response', resolve);
    sent.on('error', (error) => reject(serviceUnavailable(`error trying to reach service: ${error.message}`)));
    exchange.onClose(() => sent.destroy());
    raw.pipe(sent);
    const response = await promise;
    const out = exchange.begin(response.statusCode ?? 502, passedOn(response.headers));
    response.on('error', () => out.destroy());
    response.pipe(out);
  }

  /** Looks at every APIService of another server, soon after something about them has changed and now and then. */
  check = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#checkAll(), 50);
  };

  async #checkAll(): Promise<void> {
    if (this.#running || this.#options.signal.aborted) {
      return;
    }
    this.#running = true;
    const services = this.#remote();
    await Promise.all(
      services.map((service) =>
        this.#checkOne(service).catch((error: unknown) => {
          if (!isReason(error, 'NotFound')) {
            this.#options.log.error(`cannot check APIService ${service.metadata.name ?? ''}`, error);
          }
        }),
      ),
    );
    const names = new Set(services.map(({ metadata }) => metadata.name));
    for (const name of this.#resources.keys()) {
      if (!names.has(name)) {
        this.#forget(name);
      }
    }
    this.#running = false;
    if (services.length > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#checkAll(), checkIntervalMs).unref();
    }
  }

  async #checkOne(service: ApiService): Promise<void> {
    const name = service.metadata.name ?? '';
    const { availability, resources } = await this.#examine(service);
    if (resources === undefined) {
      this.#forget(name);
    } else if (JSON.stringify(this.#resources.get(name)?.resources) !== JSON.stringify(resources)) {
      this.#resources.set(name, { uid: service.metadata.uid ?? '', resources });
      this.generation += 1;
    }
    const before = service.status?.conditions?.find(({ type }) => type === 'Available');
    if (before?.status === availability.status && before.message === availability.message) {
      return;
    }
    await this.#options.registry.update(
      resource,
      undefined,
      name,
      (current) => {
        const conditions = (current as unknown as ApiService).status?.conditions ?? [];
        const others = conditions.filter(({ type }) => type !== 'Available');
        current['status'] = {
          conditions: [{ type: 'Available', ...availability, lastTransitionTime: timestamp() }, ...others],
        };
        return current;
      },
      { subresource: 'status' },
    );
  }

  async #examine(service: ApiService): Promise<{ availability: Availability; resources?: RemoteVersion['resources'] }> {
    const unavailable = (reason: string, message: string) => ({ availability: { status: 'False', reason, message } });
    const { namespace = '', name = '', port = 443 } = service.spec.service ?? {};
    const object = this.#options.registry.get('services', namespace, name);
    if (object === undefined) {
      return unavailable('ServiceNotFound', `service/${name} in "${namespace}" is not present`);
    }
    const ports = (object['spec'] as { ports?: { port?: number }[] } | undefined)?.ports ?? [];
    if (!ports.some((one) => one.port === port)) {
      return unavailable('ServicePortError', `service/${name} in "${namespace}" is not listening on port ${port}`);
    }
    try {
      readyEndpoint(object, port, this.#options.registry);
    } catch {
      return unavailable(
        'MissingEndpoints',
        `endpoints for service/${name} in "${namespace}" have no addresses with port ${port}`,
      );
    }
    const { group = '', version = '' } = service.spec;
    const path = `/apis/${group}/${version}`;
    try {
      const resources = resourcesOf(await this.#get(service, path), group, version);
      return { availability: { status: 'True', reason: 'Passed', message: 'all checks passed' }, resources };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const at = `https://${name}.${namespace}.svc:${port}${path}`;
      return unavailable('FailedDiscoveryCheck', `failing or missing response from ${at}: ${why}`);
    }
  }

  async #get(service: ApiService, path: string): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const user = { name: 'system:kube-aggregator', groups: ['system:masters'] };
    const headers = { accept: 'application/json', ...identityHeaders(user) };
    const sent = https.request(
      { ...this.#target(service), path, headers, signal: AbortSignal.timeout(checkTimeoutMs) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode !== 200) {
            reject(new Error(`bad status from it: ${response.statusCode}`));
            return;
          }
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString()));
          } catch (error) {
            reject(error as Error);
          }
        });
      },
    );
    sent.on('error', reject);
    sent.end();
    return promise;
  }

  #target({ spec }: ApiService): https.RequestOptions {
    const { registry, frontProxy } = this.#options;
    const { namespace = '', name = '', port = 443 } = spec.service ?? {};
    const service = registry.get('services', namespace, name);
    if (service === undefined) {
      throw serviceUnavailable(`service/${name} in "${namespace}" is not present`);
    }
    return {
      ...readyEndpoint(service, port, registry),
      servername: `${name}.${namespace}.svc`,
      rejectUnauthorized: spec.insecureSkipTLSVerify !== true,
      ...frontProxy,
      ...(spec.caBundle === undefined ? {} : { ca: Buffer.from(spec.caBundle, 'base64') }),
    };
  }

  #remote(): ApiService[] {
    const all = this.#options.registry.list(resource) as unknown as readonly ApiService[];
    return all.filter(({ spec }) => spec.service !== undefined);
  }

  #forget(name: string): void {
    if (this.#resources.delete(name)) {
      this.generation += 1;
    }
  }
}

/** As extension servers read them by the ConfigMap extension-apiserver-authentication. */
function identityHeaders({ name, uid, groups, extra }: UserInfo): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = { 'X-Remote-User': name, 'X-Remote-Group': [...groups] };
  if (uid !== undefined && uid !== '') {
    headers['X-Remote-Uid'] = uid;
  }
  for (const [key, values] of Object.entries(extra ?? {})) {
    const escaped = key.replace(/[^\w!#$&'*+.^`|~-]/g, (character) => encodeURIComponent(character));
    headers[`X-Remote-Extra-${escaped}`] = [...values];
  }
  return headers;
}

/** @throws Error when the answer is not the discovery document of the group version. */
function resourcesOf(answer: unknown, group: string, version: string): RemoteVersion['resources'] {
  const { groupVersion, resources } = answer as { groupVersion?: string; resources?: RemoteVersion['resources'] };
  if (groupVersion !== `${group}/${version}` || !Array.isArray(resources)) {
    throw new Error(
      `it answered with ${groupVersion ?? 'something else'}, not with the resources of ${group}/${version}`,
    );
  }
  return resources.map((one) => ({
    ...one,
    verbs: (one.verbs ?? []).filter((verb: string) => discoveryVerbs.has(verb)),
  }));
}

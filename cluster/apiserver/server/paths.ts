// SPDX-License-Identifier: Apache-2.0
// Everything that is not a resource: discovery, OpenAPI, version, health, metrics and the keys of service-account tokens.
import { createHash } from 'node:crypto';
import { contentType as metricsContentType } from '../../machinery/metrics.ts';
import type { TokenService } from '../authentication/service-account-tokens.ts';
import { aggregatedDiscovery, apiGroup, apiGroupList, apiResourceList, apiVersions } from '../discovery/discovery.ts';
import { encodeOpenapiV2, openapiV2, openapiV3, openapiV3Index } from '../schema/openapi.ts';
import { methodNotAllowed } from '../status.ts';
import type { UserInfo } from '../resources/definition.ts';
import type { Aggregator } from './aggregation.ts';
import type { Catalog } from './catalog.ts';
import type { Exchange } from './exchange.ts';
import type { HealthCheck } from './health.ts';
import { serveHealth } from './health.ts';
import type { ApiMetrics } from './metrics.ts';
import { parseAccept } from './negotiation.ts';

export interface PathOptions {
  readonly catalog: Catalog;
  readonly aggregator: Pick<Aggregator, 'versions' | 'generation' | 'find' | 'serve'>;
  readonly metrics: ApiMetrics;
  /** How many objects of a resource are stored. */
  readonly countObjects: (resource: string) => number;
  readonly tokens: TokenService;
  readonly health: { readonly live: readonly HealthCheck[]; readonly ready: readonly HealthCheck[] };
  /** `v1.36.0` */
  readonly version: string;
  readonly issuer: string;
  /** `10.0.0.2:6443` */
  readonly serverAddress: string;
}

const json = 'application/json';
/** As clients ask for it; Go cannot parse the `@` in what it gets, so the answer has a dot there. */
const openapiProtobuf = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';

/** Returns a function that answers an exchange, or tells with false that the path is unknown. */
export function createPaths(options: PathOptions): (exchange: Exchange, user: UserInfo) => Promise<boolean> {
  const { catalog, aggregator } = options;
  const documents = new Map<string, { body: Buffer; etag: string }>();
  let generation = '';

  /** Documents are made once per state of the catalog. */
  async function document(
    key: string,
    make: () => object | Buffer | undefined | Promise<object | Buffer | undefined>,
  ): Promise<{ body: Buffer; etag: string } | undefined> {
    const present = `${catalog.generation} ${aggregator.generation}`;
    if (generation !== present) {
      documents.clear();
      generation = present;
    }
    let known = documents.get(key);
    if (known === undefined) {
      const value = await make();
      if (value === undefined) {
        return undefined;
      }
      const body = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
      known = { body, etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"` };
      documents.set(key, known);
    }
    return known;
  }

  async function send(
    exchange: Exchange,
    key: string,
    make: () => object | undefined | Promise<object | undefined>,
  ): Promise<boolean> {
    const found = await document(key, make);
    if (found !== undefined) {
      exchange.respond(200, json, found.body);
    }
    return found !== undefined;
  }

  async function discovery(exchange: Exchange, user: UserInfo, parts: readonly string[]): Promise<boolean> {
    const definitions = catalog.definitions;
    const remote = aggregator.versions();
    const core = parts[0] === 'api';
    const rest = parts.slice(1).filter((part) => part !== '');
    if (rest.length === 0) {
      const aggregated = aggregatedVersion(exchange.header('accept'));
      if (aggregated !== undefined) {
        const found = await document(`${parts[0]} ${aggregated}`, () =>
          aggregatedDiscovery(definitions, aggregated, { core, remote }),
        );
        const type = `${json};g=apidiscovery.k8s.io;v=${aggregated};as=APIGroupDiscoveryList`;
        sendTagged(exchange, type, found as { body: Buffer; etag: string });
        return true;
      }
      return core
        ? send(exchange, 'api', () => apiVersions(options.serverAddress))
        : send(exchange, 'apis', () => apiGroupList(definitions, remote));
    }
    const [group, version] = core ? ['', rest[0] ?? ''] : [rest[0] ?? '', rest[1] ?? ''];
    if (rest.length > (core ? 1 : 2)) {
      return false;
    }
    if (version === '') {
      return send(exchange, `group ${group}`, () => apiGroup(definitions, group, remote));
    }
    const other = aggregator.find(group, version);
    if (other !== undefined) {
      await aggregator.serve(exchange, user, other);
      return true;
    }
    return send(exchange, `resources ${group}/${version}`, () => apiResourceList(definitions, group, version));
  }

  async function openapi(exchange: Exchange, parts: readonly string[]): Promise<boolean> {
    const definitions = catalog.definitions;
    const info = { version: options.version };
    if (parts[1] === 'v2' && parts.length === 2) {
      // kubectl asks for nothing but protobuf here, and does not look at the type of what it gets.
      const encoded = exchange.header('accept')?.includes(openapiProtobuf) === true;
      const found = encoded
        ? await document('openapi v2 protobuf', async () => encodeOpenapiV2(await openapiV2(definitions, info)))
        : await document('openapi v2', () => openapiV2(definitions, info));
      sendTagged(exchange, encoded ? openapiProtobuf.replace('@', '.') : json, found as { body: Buffer; etag: string });
      return true;
    }
    if (parts[1] !== 'v3') {
      return false;
    }
    const path = parts.slice(2).join('/');
    if (path === '') {
      return send(exchange, 'openapi v3', () => openapiV3Index(definitions, info));
    }
    const groupVersion = path.replace(/^apis?\//, '');
    const found = await document(`openapi v3 ${groupVersion}`, () => openapiV3(definitions, groupVersion, info));
    if (found !== undefined) {
      sendTagged(exchange, json, found);
    }
    return found !== undefined;
  }

  return async (exchange, user) => {
    const { path } = exchange;
    if (exchange.method !== 'GET' && exchange.method !== 'HEAD') {
      throw methodNotAllowed();
    }
    const parts = path.split('/').slice(1);
    switch (parts[0]) {
      case '':
        return send(exchange, '/', () => ({ paths: rootPaths(catalog) }));
      case 'api':
      case 'apis':
        return discovery(exchange, user, parts);
      case 'openapi':
        return openapi(exchange, parts);
      case 'version':
        return send(exchange, 'version', () => versionInfo(options.version));
      case 'healthz':
      case 'livez':
        return serveHealth(exchange, options.health.live);
      case 'readyz':
        return serveHealth(exchange, options.health.ready);
      case 'metrics':
        for (const { id, storedAs } of catalog.storage()) {
          options.metrics.countObjects(id, options.countObjects(storedAs));
        }
        exchange.respond(200, metricsContentType, Buffer.from(options.metrics.registry.render()));
        return true;
      case 'openid':
        return path === '/openid/v1/jwks' && send(exchange, 'jwks', () => options.tokens.keySet());
      case '.well-known':
        return (
          path === '/.well-known/openid-configuration' && send(exchange, 'openid', () => openidConfiguration(options))
        );
      default:
        return false;
    }
  };
}

function sendTagged(exchange: Exchange, type: string, document: { body: Buffer; etag: string }): void {
  const matches = exchange.header('if-none-match') === document.etag;
  const headers = { etag: document.etag, vary: 'Accept', 'cache-control': 'public, max-age=0' };
  exchange.respond(matches ? 304 : 200, type, matches ? Buffer.alloc(0) : document.body, headers);
}

function aggregatedVersion(accept: string | undefined): 'v2' | 'v2beta1' | undefined {
  for (const { type, parameters } of parseAccept(accept ?? '')) {
    if (type !== json && type !== '*/*') {
      continue;
    }
    if (parameters.get('as') === undefined) {
      return undefined;
    }
    const version = parameters.get('v');
    if (parameters.get('g') === 'apidiscovery.k8s.io' && (version === 'v2' || version === 'v2beta1')) {
      return version;
    }
  }
  return undefined;
}

function versionInfo(version: string): object {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(version) ?? [];
  const goArch = process.arch === 'x64' ? 'amd64' : process.arch;
  return {
    major,
    minor,
    gitVersion: version,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '',
    goVersion: '',
    compiler: `node ${process.version}`,
    platform: `${process.platform}/${goArch}`,
  };
}

function openidConfiguration(options: PathOptions): object {
  return {
    issuer: options.issuer,
    jwks_uri: `https://${options.serverAddress}/openid/v1/jwks`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: options.tokens.algorithms,
  };
}

function rootPaths(catalog: Catalog): string[] {
  const versions = catalog.definitions.flatMap(({ group, versions }) =>
    versions.map(({ version }) => (group === '' ? `/api/${version}` : `/apis/${group}/${version}`)),
  );
  const groups = catalog.definitions.flatMap(({ group }) => (group === '' ? [] : [`/apis/${group}`]));
  const others = [
    '/.well-known/openid-configuration',
    '/api',
    '/apis',
    '/healthz',
    '/livez',
    '/metrics',
    '/openapi/v2',
    '/openapi/v3',
    '/openid/v1/jwks',
    '/readyz',
    '/version',
  ];
  return [...new Set([...others, ...groups, ...versions])].toSorted();
}

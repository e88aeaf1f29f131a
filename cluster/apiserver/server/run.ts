// SPDX-License-Identifier: Apache-2.0
// Composes the API server from its parts and runs it until told to stop.
import { formatAddress, parsePrefix } from '../../network/addresses.ts';
import type { Logger } from '../../machinery/log.ts';
import { admissionPlugins } from '../admission/plugins.ts';
import { createAuthenticator } from '../authentication/authenticate.ts';
import { createTokenService } from '../authentication/service-account-tokens.ts';
import { createAuthorizer } from '../authorization/authorizer.ts';
import { createEscalationCheck } from '../authorization/escalation.ts';
import { createNodeAuthorizer } from '../authorization/node-authorizer.ts';
import { createRbac, rbacResources } from '../authorization/rbac.ts';
import { createDefinitions } from '../resources/catalogue.ts';
import type { KubeletCredentials, ResourcesConfig } from '../resources/config.ts';
import type { UserInfo } from '../resources/definition.ts';
import { EtcdClient } from '../store/etcd-client.ts';
import type { EtcdOptions } from '../store/etcd-client.ts';
import { Store } from '../store/store.ts';
import { Aggregator } from './aggregation.ts';
import type { FrontProxy } from './aggregation.ts';
import { followApiServices } from './api-services.ts';
import { ApiServer } from './api-server.ts';
import { bootstrap } from './bootstrap.ts';
import { Catalog } from './catalog.ts';
import type { Core } from './core.ts';
import { followCustomResources } from './custom-resources.ts';
import { createMetrics } from './metrics.ts';
import { createPaths } from './paths.ts';
import { createRegistry } from './registry.ts';

export interface RunOptions {
  readonly etcd: EtcdOptions;
  readonly tls: { readonly cert: Buffer; readonly key: Buffer; readonly ca: Buffer };
  readonly tokens: {
    readonly issuer: string;
    readonly apiAudiences: readonly string[];
    readonly verificationKeys: readonly string[];
    readonly signingKey: string;
  };
  readonly staticTokens: ReadonlyMap<string, UserInfo>;
  readonly kubelet: KubeletCredentials;
  readonly frontProxy: FrontProxy;
  /** PEM: who signed the front proxy's certificate, for servers that it passes requests on to. */
  readonly frontProxyAuthority: string | undefined;
  readonly frontProxyNames: readonly string[];
  readonly serviceClusterIPRanges: readonly string[];
  readonly serviceNodePortRange: string;
  readonly advertiseAddress: string;
  readonly bindAddress: string;
  readonly securePort: number;
  readonly version: string;
}

/** Resolves after a graceful stop. */
export async function runApiServer(options: RunOptions, log: Logger, signal: AbortSignal): Promise<void> {
  const metrics = createMetrics(options.version);
  const etcd = new EtcdClient({ ...options.etcd, observe: metrics.observeEtcd });
  const store = new Store(etcd, (text) => log.warn(text));
  const registry = createRegistry(() => core);
  const tokens = createTokenService({ ...options.tokens, registry, now: Date.now });
  const rbac = createRbac({
    get: registry.get,
    list: registry.list,
    stamp: () => rbacResources.map((resource) => store.cache(resource).lastChange).join(),
  });
  const podsOfNode = (node: string) =>
    registry.list('pods').filter((pod) => (pod['spec'] as { nodeName?: string } | undefined)?.nodeName === node);
  const authorizer = createAuthorizer(rbac, createNodeAuthorizer(registry, podsOfNode));
  const config: ResourcesConfig = {
    serviceClusterIPRanges: options.serviceClusterIPRanges,
    serviceNodePortRange: options.serviceNodePortRange,
    kubelet: options.kubelet,
    apiAudiences: options.tokens.apiAudiences,
    mintToken: tokens.mint,
    authenticateToken: tokens.authenticate,
    authorize: authorizer.authorize,
    rulesOf: authorizer.rulesOf,
  };
  const core: Core = {
    store,
    catalog: new Catalog(createDefinitions(config)),
    registry,
    plugins: [...admissionPlugins(config), createEscalationCheck(rbac, authorizer.authorize)],
    authorize: authorizer.authorize,
  };
  const aggregator = new Aggregator({ registry, frontProxy: options.frontProxy, log, signal });
  let ready = false;
  const etcdCheck = { name: 'etcd', check: () => store.ping() };
  const pingCheck = { name: 'ping', check: () => Promise.resolve() };
  const startCheck = {
    name: 'poststarthook/bootstrap',
    check: () => (ready ? Promise.resolve() : Promise.reject(new Error('not finished'))),
  };
  const server = new ApiServer({
    core,
    aggregator,
    authenticator: createAuthenticator({ tokens, staticTokens: options.staticTokens }),
    metrics,
    log,
    tls: options.tls,
    servePath: createPaths({
      catalog: core.catalog,
      aggregator,
      metrics,
      countObjects: (resource) => store.cache(resource).size,
      tokens,
      health: { live: [pingCheck, etcdCheck, startCheck], ready: [pingCheck, etcdCheck, startCheck] },
      version: options.version,
      issuer: options.tokens.issuer,
      serverAddress: `${options.advertiseAddress}:${options.securePort}`,
    }),
  });
  const stopped = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const start = async (): Promise<void> => {
    await store.start();
    await followCustomResources(core, log, signal);
    await bootstrap({
      registry,
      log,
      advertiseAddress: options.advertiseAddress,
      securePort: options.securePort,
      serviceAddress: firstAddress(options.serviceClusterIPRanges[0] ?? ''),
      serviceRanges: options.serviceClusterIPRanges,
      clientCa: options.tls.ca.toString(),
      frontProxyAuthority: options.frontProxyAuthority,
      frontProxyNames: options.frontProxyNames,
      signal,
    });
    await followApiServices(core, log);
    const watched = ['apiservices.apiregistration.k8s.io', 'services', 'endpointslices.discovery.k8s.io'];
    const follow = (): void => {
      for (const resource of watched) {
        store.cache(resource).onChange(aggregator.check);
      }
      aggregator.check();
    };
    store.onReload(follow);
    follow();
    ready = true;
    await server.listen(options.securePort, options.bindAddress);
    log.info('serving', { address: `${options.bindAddress}:${options.securePort}`, version: options.version });
  };
  // A stop while etcd is still away must not wait for it.
  await Promise.race([start(), stopped]);
  await stopped;
  log.info('stopping');
  await server.close();
  store.close();
}

/** `10.96.0.0/16` has `10.96.0.1`. */
function firstAddress(cidr: string): string {
  const { family, first } = parsePrefix(cidr);
  return formatAddress(first + 1n, family);
}

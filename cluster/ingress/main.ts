// SPDX-License-Identifier: Apache-2.0
// The ingress controller: serves networking.k8s.io/v1 Ingresses of its classes through an HAProxy of its own, in the same
// container. Bad objects get Events that name the field; the good part of them is served.

import { existsSync, readFileSync } from 'node:fs';

import { Client } from '../machinery/client.ts';
import { EventRecorder } from '../machinery/events.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { Informer, keyOf } from '../machinery/informer.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import { exponentialBuckets, metrics } from '../machinery/metrics.ts';
import { resources } from '../machinery/resources.ts';
import { SyncLoop } from '../network/nft/sync-loop.ts';
import { Haproxy } from './haproxy.ts';
import { keyPairProblem, pemOf, routesOf, type Problem } from './routes.ts';
import { selfSignedCertificate } from './self-signed.ts';
import { publishAddresses } from './status.ts';
import type { EndpointSlice, Ingress, IngressClass, Secret, Service } from '../machinery/api-types.ts';

const flagSpec = {
  'controller-class': {
    type: 'string',
    default: 'plumbline.io/ingress-controller',
    description: 'spec.controller of the IngressClasses to serve',
  },
  'publish-service': {
    type: 'string',
    description: 'namespace/name of the Service whose load balancer addresses are the status of Ingresses',
  },
  'publish-address': {
    type: 'list',
    description: 'addresses that are their status while that Service has none',
  },
  'default-ssl-certificate': {
    type: 'string',
    description: 'namespace/name of the TLS Secret for names without one; a self-signed one is made when absent',
  },
  'http-port': { type: 'number', default: 80, description: 'port of HTTP' },
  'https-port': { type: 'number', default: 443, description: 'port of HTTPS' },
  'work-dir': { type: 'string', default: '/run/ingress', description: 'where the files of HAProxy are written' },
  haproxy: { type: 'string', default: '/usr/sbin/haproxy', description: 'path of HAProxy' },
  kubeconfig: { type: 'string', description: 'kubeconfig file; the pod’s service account when absent' },
  'healthz-bind-address': { type: 'string', default: ':10254', description: 'address of /healthz and /metrics' },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('ingress');
const syncSeconds = metrics.histogram(
  'plumb_ingress_sync_duration_seconds',
  'Time from the start of a look at all objects to routes in force',
  exponentialBuckets(0.001, 2, 14),
);
const serviceNameLabel = 'kubernetes.io/service-name';

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const client =
    flags.kubeconfig === undefined
      ? Client.inCluster({ userAgent: 'ingress' })
      : Client.fromKubeconfig(flags.kubeconfig, { userAgent: 'ingress' });
  const recorder = new EventRecorder(client, 'ingress');
  const ingresses = new Informer<Ingress>(client, resources.ingresses);
  const classes = new Informer<IngressClass>(client, resources.ingressClasses);
  const services = new Informer<Service>(client, resources.services);
  const slices = new Informer<EndpointSlice>(client, resources.endpointSlices, {
    indexers: {
      service: ({ metadata }) => [`${metadata.namespace}/${metadata.labels?.[serviceNameLabel]}`],
    },
  });
  const secrets = new Informer<Secret>(client, resources.secrets, { fieldSelector: 'type=kubernetes.io/tls' });
  const informers = [ingresses, classes, services, slices, secrets];

  const selfSigned = await selfSignedCertificate();
  const namedSecret = (): Secret | undefined => {
    const [namespace, name] = flags['default-ssl-certificate']?.split('/') ?? [];
    return name === undefined ? undefined : secrets.get(name, namespace);
  };
  const haproxy = new Haproxy(
    flags.haproxy,
    {
      directory: flags['work-dir'],
      httpPort: flags['http-port'],
      httpsPort: flags['https-port'],
      ipv6: existsSync('/proc/net/if_inet6') && readFileSync('/proc/net/if_inet6', 'utf8') !== '',
      output: 'inherit',
      defaultCertificate: () => {
        const secret = namedSecret();
        return secret === undefined || keyPairProblem(secret) !== undefined ? selfSigned : pemOf(secret);
      },
    },
    (code) => {
      log.error('HAProxy has ended', new Error(`exit code ${code}`));
      process.exit(1);
    },
  );
  let inForce = false;
  let lastError: unknown = new Error('Ingresses, Services, endpoints and Secrets have not been listed yet');
  const told = new Map<string, string>();

  const loop = new SyncLoop({
    settleMs: 10,
    retryMs: 1000,
    run: async () => {
      const start = performance.now();
      const routes = routesOf(
        {
          ingresses: ingresses.list(),
          classes: classes.list(),
          service: (namespace, name) => services.get(name, namespace),
          slices: (namespace, name) => slices.byIndex('service', `${namespace}/${name}`),
          secret: (namespace, name) => secrets.get(name, namespace),
        },
        flags['controller-class'],
      );
      const kind = await haproxy.apply(routes);
      const seconds = (performance.now() - start) / 1000;
      if (kind !== 'none') {
        syncSeconds.observe(seconds, { kind });
        log.info('in force', { kind, ingresses: routes.served.length, seconds });
      }
      tell(routes.problems);
      inForce = true;
      lastError = undefined;
      const [namespace, name] = flags['publish-service']?.split('/') ?? [];
      const published = name === undefined ? undefined : services.get(name, namespace);
      await publishAddresses(client, routes.served, { service: published, fallback: flags['publish-address'] });
      return haproxy.untidy ? 1000 : undefined;
    },
    onError: (error) => {
      lastError = error;
      log.error('routes could not be brought up to date, trying again in 1 s', error);
    },
  });

  /** Says what is wrong once, and again when it is something else. */
  function tell(problems: readonly Problem[]): void {
    const byIngress = Map.groupBy(problems, ({ ingress }) => keyOf(ingress));
    for (const key of told.keys()) if (!byIngress.has(key)) told.delete(key);
    for (const [key, list] of byIngress) {
      const text = list.map(({ message }) => message).join('\n');
      if (told.get(key) === text) continue;
      told.set(key, text);
      for (const { ingress, message } of list) recorder.event(ingress, 'Warning', 'Rejected', message);
    }
  }

  for (const informer of informers) {
    informer.onChange(({ object, old }) => {
      // Status and leases of objects change all the time; routes depend on neither.
      const same = old !== undefined && JSON.stringify(essence(old)) === JSON.stringify(essence(object));
      if (!same && informers.every(({ synced }) => synced)) loop.request();
    });
  }
  await startHealthServer(
    {
      address: flags['healthz-bind-address'],
      readyChecks: {
        // Later failures leave the last routes in force: no reason to take no more requests.
        routes: () => {
          if (!inForce) throw new Error('no routes are in force yet', { cause: lastError });
        },
      },
    },
    stop.signal,
  );
  await Promise.all(informers.map((informer) => informer.start(stop.signal)));
  loop.request();
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  await loop.stop();
  await haproxy.stop();
  await recorder.flush();
  client.close();
}

/** An object without what changes by itself. A Service's status counts: it has the addresses to publish. */
function essence(object: { metadata: { resourceVersion?: string }; kind?: string }): unknown {
  const { metadata, ...rest } = object;
  const { resourceVersion: _, ...lasting } = metadata;
  return { metadata: lasting, ...rest };
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`ingress: ${error.message}\n`);
    else log.error('the ingress controller cannot go on', error);
    process.exit(1);
  },
);

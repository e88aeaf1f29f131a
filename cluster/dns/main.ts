// SPDX-License-Identifier: Apache-2.0
// The cluster's DNS server. Runs as pods behind the Service kube-dns; takes CoreDNS' command line and configuration
// file, serves its health, readiness and metrics ports, and its names of metrics.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';

import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { logger } from '../machinery/log.ts';
import { contentType, metrics } from '../machinery/metrics.ts';
import { watchCluster } from './cluster-state.ts';
import { parseCorefile } from './corefile.ts';
import { dnsMetrics, observeOutcome, upstreamObserver } from './dns-metrics.ts';
import { Listeners } from './listeners.ts';
import { resolve } from './resolver.ts';
import { Upstream } from './upstream.ts';
import type { Server } from 'node:http';
import type { DnsConfig } from './corefile.ts';
import type { Outcome, ResolverDependencies, Transport } from './resolver.ts';

const flagSpec = {
  conf: { type: 'string', default: 'Corefile', description: "configuration file in CoreDNS' format" },
  'dns.port': { type: 'number', description: 'port to serve instead of the one in the configuration file' },
  kubeconfig: { type: 'string', description: 'kubeconfig file; without it, the credentials of the pod' },
} as const;

const log = logger('dns');

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  const text = await readFile(flags.conf, 'utf8');
  let config = parseCorefile(text);
  const port = flags['dns.port'] ?? config.port;
  const serverLabel = `dns://:${port}`;
  const stop = new AbortController();

  const client =
    flags.kubeconfig === undefined
      ? Client.inCluster({ userAgent: 'dns' })
      : Client.fromKubeconfig(flags.kubeconfig, { userAgent: 'dns' });
  const state = watchCluster(client, { watchPods: config.kubernetes?.pods === 'verified' });
  const makeUpstream = (from: DnsConfig): Upstream | undefined => {
    if (from.forward === undefined) return undefined;
    const upstream = new Upstream(from.forward, from.cache, upstreamObserver(serverLabel));
    if (upstream.servers.length === 0) log.warn('no upstream server: names outside the cluster answer SERVFAIL');
    return upstream;
  };
  const dependencies = (from: DnsConfig): ResolverDependencies => ({
    config: from,
    state,
    synced: () => state.synced,
    upstream: makeUpstream(from),
    serial: () => state.serial,
    nameServers: () => state.service('kube-system', 'kube-dns')?.spec?.clusterIPs ?? [],
    random: Math.random,
  });
  let current = dependencies(config);

  const record = (
    outcome: Outcome,
    packet: Buffer,
    facts: { transport: Transport; client: string; since: number },
  ): void => {
    const { transport, client } = facts;
    const seconds = (performance.now() - facts.since) / 1000;
    observeOutcome(outcome, { transport, client, seconds, packetLength: packet.length, server: serverLabel });
    if (config.logQueries) {
      const { query, rcode, reply } = outcome;
      log.info('query', {
        client,
        transport,
        name: query?.name,
        type: query?.type,
        rcode,
        bytes: reply?.length,
        seconds,
      });
    }
  };
  const listeners = new Listeners((packet, transport, client) => {
    const since = performance.now();
    try {
      const outcome = resolve(packet, transport, current);
      if (!(outcome instanceof Promise)) {
        record(outcome, packet, { transport, client, since });
        return outcome;
      }
      return outcome.then((done) => {
        record(done, packet, { transport, client, since });
        return done;
      });
    } catch (error) {
      dnsMetrics.panics.add();
      log.error('a query could not be handled', error, { packet: packet.toString('base64') });
      return { query: undefined, reply: undefined, rcode: 2, zone: 'dropped', plugin: '' };
    }
  });

  let lameduck = false;
  const servers: Server[] = [];
  const serve = (
    at: number | undefined,
    path: string,
    answer: () => { status: number; body: string; type?: string },
  ): void => {
    if (at === undefined) return;
    const server = createServer((request, response) => {
      const { status, body, type } =
        request.url?.split('?')[0] === path ? answer() : { status: 404, body: '404 page not found\n' };
      response.writeHead(status, { 'content-type': type ?? 'text/plain; charset=utf-8' }).end(body);
    });
    server.on('error', (error) => log.error(`cannot serve ${path} on port ${at}`, error));
    servers.push(server.listen(at));
  };
  serve(config.healthPort, '/health', () => ({ status: 200, body: 'OK' }));
  serve(config.readyPort, '/ready', () =>
    state.synced && !lameduck ? { status: 200, body: 'OK' } : { status: 503, body: 'kubernetes' },
  );
  serve(config.metricsPort, '/metrics', () => ({ status: 200, body: metrics.render(), type: contentType }));

  await listeners.listen(port);
  log.info('serving', { port, domain: config.kubernetes?.domain, upstream: current.upstream?.servers.join(',') });
  if (config.kubernetes !== undefined) {
    void state.start(stop.signal).then(() => log.info('ready'));
  }

  let digest = sha256(text);
  const reload = async (): Promise<void> => {
    const changed = await readFile(flags.conf, 'utf8');
    if (sha256(changed) === digest) return;
    digest = sha256(changed);
    try {
      config = parseCorefile(changed);
      current = dependencies(config);
      log.info('configuration reloaded; changes of ports and of pod verification need a restart');
    } catch (error) {
      dnsMetrics.reloadFailures.add();
      log.error('the changed configuration is not used', error);
    }
  };
  const timer =
    config.reloadMs === undefined
      ? undefined
      : setInterval(() => {
          reload().catch((error: unknown) => log.error('the configuration could not be read', error));
        }, config.reloadMs);

  await new Promise<void>((resolveStop) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolveStop());
  });
  // Goes on answering while clients and proxies learn that it leaves.
  lameduck = true;
  log.info('leaving', { lameduckMs: config.lameduckMs });
  await new Promise((resolveWait) => setTimeout(resolveWait, config.lameduckMs));
  clearInterval(timer);
  stop.abort();
  listeners.close();
  for (const server of servers) server.close();
  client.close();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`dns: ${error.message}\n`);
    else log.error('the DNS server cannot go on', error);
    process.exit(1);
  },
);

// SPDX-License-Identifier: Apache-2.0
// The cluster's DNS server. Runs as pods behind the Service kube-dns; takes CoreDNS' command line and configuration
// file, serves its health, readiness and metrics ports, and its names of metrics.

import { createServer } from 'node:http';
import { readFileSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import type { Server } from 'node:http';

import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { logger } from '../machinery/log.ts';
import { contentType, metrics } from '../machinery/metrics.ts';
import { Changes } from './changes.ts';
import { watchCluster } from './cluster-state.ts';
import { parseCorefile } from './corefile.ts';
import { CorefileError } from './corefile-syntax.ts';
import { dnsMetrics } from './dns-metrics.ts';
import { DnsServer } from './dns-server.ts';
import { plainName } from './names.ts';
import type { HttpAddress, ServerConfig } from './corefile.ts';
import type { WatchedState } from './cluster-state.ts';

const flagSpec = {
  conf: { type: 'string', default: 'Corefile', description: "configuration file in CoreDNS' format" },
  'dns.port': { type: 'number', default: 53, description: 'port of server blocks that name none' },
  kubeconfig: { type: 'string', description: 'kubeconfig file; without it, the credentials of the pod' },
} as const;

const log = logger('dns');
/** Longest wait for the pods' names when a changed configuration needs them. */
const podsMs = 10_000;

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  const parse = (text: string): ServerConfig[] =>
    parseCorefile(text, {
      file: basename(flags.conf),
      environment: process.env,
      read: (pattern) => importedFiles(dirname(flags.conf), pattern),
      defaultPort: flags['dns.port'],
    });
  let text = await readFile(flags.conf, 'utf8');
  let configs = parse(text);
  const stop = new AbortController();

  let client: Client | undefined;
  let state: WatchedState | undefined;
  const watch = (): WatchedState => {
    const { kubeconfig } = flags;
    client =
      kubeconfig === undefined
        ? Client.inCluster({ userAgent: 'dns' })
        : Client.fromKubeconfig(kubeconfig, { userAgent: 'dns' });
    return watchCluster(client, (seconds) =>
      dnsMetrics.programming.observe(seconds, { service_kind: 'headless_with_selector' }),
    );
  };
  const know = async (wanted: readonly ServerConfig[]): Promise<void> => {
    if (wanted.every(({ kubernetes }) => kubernetes === undefined)) return;
    state ??= watch();
    await state.start(stop.signal, { pods: wanted.some(({ kubernetes }) => kubernetes?.pods === 'verified') });
  };

  let lameduck = false;
  const http = new HttpEndpoints();
  const serveHttp = (wanted: readonly ServerConfig[]): void => {
    const needsCluster = wanted.some(({ kubernetes }) => kubernetes !== undefined);
    http.use(
      wanted.flatMap(({ health, ready, metrics: metricsAt }): Endpoint[] => [
        ...(health === undefined
          ? []
          : [{ at: health.at, path: '/health', answer: () => ({ status: 200, body: 'OK' }) }]),
        ...(ready === undefined
          ? []
          : [
              {
                at: ready,
                path: '/ready',
                answer: () =>
                  (!needsCluster || state?.synced === true) && !lameduck
                    ? { status: 200, body: 'OK' }
                    : { status: 503, body: 'kubernetes' },
              },
            ]),
        ...(metricsAt === undefined
          ? []
          : [
              {
                at: metricsAt,
                path: '/metrics',
                answer: () => ({ status: 200, body: metrics.render(), type: contentType }),
              },
            ]),
      ]),
    );
  };

  const server = new DnsServer({
    state: lazily(() => state),
    log,
    hostSearch: searchList('/etc/resolv.conf'),
    onLoop: (message) => {
      log.error(`loop: ${message}`);
      process.exit(1);
    },
  });
  // Asked for before the ports open, so that the first query finds it under way.
  const known = know(configs);
  serveHttp(configs);
  await server.use(configs, text);
  log.info('serving', {
    ports: server.ports.join(','),
    zones: configs.flatMap(({ zones }) => zones.map((zone) => `${zone}.`)).join(' '),
  });
  void known.then(() => log.info('ready'));

  const reload = async (): Promise<void> => {
    const changed = await readFile(flags.conf, 'utf8');
    if (changed === text) return;
    text = changed;
    try {
      const next = parse(changed);
      // Names that the new configuration needs are fetched while the old one still answers.
      await Promise.race([know(next), new Promise((resolve) => setTimeout(resolve, podsMs).unref())]);
      await server.use(next, changed);
      serveHttp(next);
      configs = next;
      log.info('configuration reloaded');
    } catch (error) {
      dnsMetrics.reloadFailures.add();
      log.error('the changed configuration is not used', error);
    }
  };
  // The first block with `reload` decides; without any, the file is read once.
  const every = configs.find(({ reloadMs }) => reloadMs !== undefined)?.reloadMs;
  const timer =
    every === undefined
      ? undefined
      : setInterval(() => {
          reload().catch((error: unknown) => log.error('the configuration could not be read', error));
        }, every);

  await new Promise<void>((resolveStop) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolveStop());
  });
  // Goes on answering while clients and proxies learn that it leaves.
  lameduck = true;
  const lameduckMs = Math.max(0, ...configs.map(({ health }) => health?.lameduckMs ?? 0));
  log.info('leaving', { lameduckMs });
  await new Promise((resolveWait) => setTimeout(resolveWait, lameduckMs));
  clearInterval(timer);
  stop.abort();
  server.close();
  http.use([]);
  client?.close();
}

interface Endpoint {
  readonly at: HttpAddress;
  readonly path: string;
  readonly answer: () => { readonly status: number; readonly body: string; readonly type?: string };
}

/** HTTP servers by address; several server blocks, and several paths, may share one. */
class HttpEndpoints {
  readonly #servers = new Map<string, { readonly server: Server; endpoints: readonly Endpoint[] }>();

  use(endpoints: readonly Endpoint[]): void {
    const wanted = new Map<string, Endpoint[]>();
    for (const endpoint of endpoints) {
      const key = `${endpoint.at.host ?? ''}:${endpoint.at.port}`;
      wanted.set(key, [...(wanted.get(key) ?? []), endpoint]);
    }
    for (const [key, { server }] of this.#servers) {
      if (wanted.has(key)) continue;
      server.close();
      this.#servers.delete(key);
    }
    for (const [key, group] of wanted) {
      const running = this.#servers.get(key);
      if (running === undefined) this.#open(key, group);
      else running.endpoints = group;
    }
  }

  #open(key: string, endpoints: readonly Endpoint[]): void {
    const server = createServer((request, response) => {
      const path = request.url?.split('?')[0];
      const endpoint = this.#servers.get(key)?.endpoints.find((one) => one.path === path);
      const { status, body, type } = endpoint?.answer() ?? { status: 404, body: '404 page not found\n' };
      response.writeHead(status, { 'content-type': type ?? 'text/plain; charset=utf-8' }).end(body);
    });
    server.on('error', (error) => log.error(`cannot serve HTTP on ${key}`, error));
    this.#servers.set(key, { server, endpoints });
    const at = endpoints[0]?.at;
    server.listen({ port: at?.port ?? 0, ...(at?.host !== undefined && { host: at.host }) });
  }
}

/** The state once there is one; before that, nothing is known. */
function lazily(state: () => WatchedState | undefined): ConstructorParameters<typeof DnsServer>[0]['state'] {
  const none = new Changes();
  return {
    service: (namespace, name) => state()?.service(namespace, name),
    slices: (namespace, name) => state()?.slices(namespace, name) ?? [],
    hasNamespace: (name) => state()?.hasNamespace(name) ?? false,
    servicesWithAddress: (address) => state()?.servicesWithAddress(address) ?? [],
    slicesWithAddress: (address) => state()?.slicesWithAddress(address) ?? [],
    hasPod: (namespace, address) => state()?.hasPod(namespace, address) ?? false,
    namespaceOf: (address) => state()?.namespaceOf(address),
    get synced() {
      return state()?.synced ?? false;
    },
    get serial() {
      return state()?.serial ?? 0;
    },
    get changes() {
      return state()?.changes ?? none;
    },
  };
}

/** Files that an `import` means: relative to the configuration file; `*` stands for any part of the last name. */
function importedFiles(directory: string, pattern: string): { file: string; text: string }[] {
  const path = isAbsolute(pattern) ? pattern : join(directory, pattern);
  const read = (file: string): { file: string; text: string } => ({ file, text: readFileSync(file, 'utf8') });
  try {
    if (!path.includes('*')) return [read(path)];
    const escaped = basename(path)
      .replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*');
    const matches = new RegExp(`^${escaped}$`);
    return readdirSync(dirname(path), { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && matches.test(entry.name) && !entry.name.startsWith('.'))
      .map((entry) => join(dirname(path), entry.name))
      .toSorted()
      .map(read);
  } catch {
    return [];
  }
}

function searchList(file: string): string[] {
  try {
    const line = /^\s*search\s+(.+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
    return line
      .trim()
      .split(/\s+/)
      .filter((word) => word !== '')
      .map(plainName);
  } catch {
    return [];
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError || error instanceof CorefileError) process.stderr.write(`dns: ${error.message}\n`);
    else log.error('the DNS server cannot go on', error);
    process.exit(1);
  },
);

// SPDX-License-Identifier: Apache-2.0
// Routes as the files that HAProxy reads. Pure. Hosts and paths are looked up in maps, so that a request costs the same with
// ten rules and ten thousand: first the host itself, then its wildcard, then rules for every host; in each the exact path, then the longest prefix.

import { unavailableBackend, type Routes } from './routes.ts';

export interface ProxyOptions {
  /** Where the files will be. */
  readonly directory: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly ipv6: boolean;
  /** What becomes of HAProxy's own words. */
  readonly output: 'inherit' | 'ignore';
  /** PEM of key and chain that is shown where no other certificate fits. */
  readonly defaultCertificate: () => string;
}

/** Contents by file name. */
export type ProxyFiles = ReadonlyMap<string, string>;

export const configFile = 'haproxy.cfg';
export const adminSocket = 'admin.sock';

export function proxyFiles(routes: Routes, options: ProxyOptions): ProxyFiles {
  const files = new Map<string, string>();
  const list = ['default.pem'];
  files.set('default.pem', options.defaultCertificate());
  for (const { name, pem, hosts } of routes.certificates) {
    files.set(`${name}.pem`, pem);
    list.push([`${name}.pem`, ...hosts].join(' '));
  }
  files.set('certificates.list', lines(list.map((line) => `${options.directory}/${line}`)));
  const entries = (type: string, end: string): string =>
    lines(
      routes.paths
        .filter((route) => route.type === type)
        .map(({ host, path, backend }) => `${host}${path.endsWith(end) ? path : `${path}${end}`} ${backend}`)
        .toSorted(),
    );
  files.set('exact.map', entries('Exact', ''));
  // Request paths are looked up with a slash at their end: then a prefix never ends inside of an element.
  files.set('prefix.map', entries('Prefix', '/'));
  const defaults = [...routes.hostDefaults].filter(([host]) => host !== '');
  files.set('default.map', lines(defaults.map(([host, backend]) => `${host} ${backend}`).toSorted()));
  files.set(configFile, config(routes, options));
  return files;
}

/** The name of an address as a server of a backend. */
export function serverName(address: string): string {
  return address.replaceAll(/[[\]]/g, '');
}

function config(routes: Routes, { directory, httpPort, httpsPort, ipv6 }: ProxyOptions): string {
  const tls = `ssl crt-list ${directory}/certificates.list alpn h2,http/1.1`;
  const backends = [...routes.backends].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `# Written by the ingress controller; what is changed here is lost.
global
  log stderr format raw daemon err
  stats socket ${directory}/${adminSocket} mode 600 level admin expose-fd listeners
  hard-stop-after 5m
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
  mode http
  log global
  option dontlognull
  # Without it connections that wait for their next request are cut when the configuration changes.
  option idle-close-on-response
  option redispatch 1
  retries 3
  timeout connect 1s
  timeout http-request 10s
  timeout http-keep-alive 60s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h

frontend ingress
  bind *:${httpPort}
  bind *:${httpsPort} ${tls}
${ipv6 ? `  bind [::]:${httpPort} v6only\n  bind [::]:${httpsPort} v6only ${tls}\n` : ''}\
  http-request set-var(txn.host) req.hdr(host),host_only,lower,regsub(\\.$,)
  http-request set-var(txn.wildcard) var(txn.host),regsub(^[^.]*,*)
  http-request set-var(txn.path) path
${['%[var(txn.host)]', '%[var(txn.wildcard)]', ''].map((host) => lookUp(host, directory)).join('')}\
${['host', 'wildcard']
  .map(
    (name) =>
      `  http-request set-var(txn.backend) var(txn.${name}),map_str(${directory}/default.map) unless ${found}\n`,
  )
  .join('')}\
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Proto https if { ssl_fc }
  use_backend %[var(txn.backend)] if ${found}
  default_backend ${routes.hostDefaults.get('') ?? '_none'}

backend _none
  http-request return status 404 content-type text/plain string "no Ingress has a rule for this host and path\\n"

backend ${unavailableBackend}
  http-request return status 503 content-type text/plain string "the Service of this rule does not exist\\n"
${backends.map(([name, addresses]) => `\n${backendSection(name, addresses)}`).join('')}`;
}

const found = '{ var(txn.backend) -m found }';

function lookUp(host: string, directory: string): string {
  return `  http-request set-var-fmt(txn.key) "${host}%[var(txn.path)]" unless ${found}
  http-request set-var(txn.backend) var(txn.key),map_str(${directory}/exact.map) unless ${found}
  http-request set-var(txn.backend) var(txn.key),concat(/),map_beg(${directory}/prefix.map) unless ${found}
`;
}

function backendSection(name: string, addresses: readonly string[]): string {
  const servers = addresses.map((address) => `  server ${serverName(address)} ${address}\n`);
  return `backend ${name}\n  balance roundrobin\n${servers.join('')}`;
}

function lines(list: readonly string[]): string {
  return list.map((line) => `${line}\n`).join('');
}

// SPDX-License-Identifier: Apache-2.0
// What a pod sees of names: its hostname, /etc/hosts and the DNS settings of its resolv.conf. Pure.
import type { Pod } from '../../machinery/api-types.ts';
import { specOf } from './pod-facts.ts';

export interface DnsSettings {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** Limits of resolv.conf that Kubernetes keeps to. */
const maxNameservers = 3;
const maxSearches = 32;
const maxSearchLength = 2048;
const maxHostname = 63;

/** The pod's hostname and its domain (empty without a subdomain). Errors: a FQDN too long for the kernel. */
export function hostnameOf(pod: Pod, clusterDomain: string): { hostname: string; domain: string } {
  const spec = specOf(pod);
  const hostname = (spec.hostname || (pod.metadata.name ?? '')).slice(0, maxHostname).replace(/[-.]+$/, '');
  const domain = spec.subdomain ? `${spec.subdomain}.${pod.metadata.namespace ?? 'default'}.svc.${clusterDomain}` : '';
  return { hostname, domain };
}

/** The name that the kernel of the sandbox gets. */
export function kernelHostname(pod: Pod, clusterDomain: string): string {
  const spec = specOf(pod);
  if (spec.hostnameOverride) return spec.hostnameOverride;
  const { hostname, domain } = hostnameOf(pod, clusterDomain);
  if (!spec.setHostnameAsFQDN || domain === '') return hostname;
  const full = `${hostname}.${domain}`;
  if (full.length > 64) {
    throw new Error(
      `failed to construct FQDN from pod hostname and cluster domain, FQDN ${full} is too long (64 characters is the max, ${full.length} characters requested)`,
    );
  }
  return full;
}

export function parseResolvConf(text: string): DnsSettings {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    else if (keyword === 'search') searches = values.map((value) => (value === '.' ? value : value.replace(/\.$/, '')));
    else if (keyword === 'options') options = values;
  }
  return { servers, searches, options };
}

/** DNS by `dnsPolicy` and `dnsConfig`; `host` is the node's own resolv.conf. */
export function dnsSettingsOf(
  pod: Pod,
  cluster: { readonly clusterDNS: readonly string[]; readonly clusterDomain: string },
  host: DnsSettings,
): DnsSettings {
  const spec = specOf(pod);
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  const useCluster =
    cluster.clusterDNS.length > 0 &&
    (policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !spec.hostNetwork));
  let base: DnsSettings = host;
  if (policy === 'None') base = { servers: [], searches: [], options: [] };
  else if (useCluster) {
    const { clusterDomain } = cluster;
    const own = clusterDomain
      ? [`${pod.metadata.namespace ?? 'default'}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain]
      : [];
    base = { servers: cluster.clusterDNS, searches: [...own, ...host.searches], options: ['ndots:5'] };
  }
  const extra = spec.dnsConfig;
  const options = new Map<string, string>();
  for (const option of base.options) {
    const [name = '', value] = option.split(':');
    options.set(name, value === undefined ? name : `${name}:${value}`);
  }
  for (const { name = '', value } of extra?.options ?? []) {
    options.set(name, value === undefined ? name : `${name}:${value}`);
  }
  const searches = [...new Set([...base.searches, ...(extra?.searches ?? [])])].slice(0, maxSearches);
  while (searches.join(' ').length > maxSearchLength) searches.pop();
  return {
    servers: [...new Set([...base.servers, ...(extra?.nameservers ?? [])])].slice(0, maxNameservers),
    searches,
    options: [...options.values()],
  };
}

/** The managed /etc/hosts. `nodeHosts` is the node's own file, which host-network pods start from. */
export function hostsFile(
  pod: Pod,
  options: { readonly podIPs: readonly string[]; readonly clusterDomain: string; readonly nodeHosts: string },
): string {
  const spec = specOf(pod);
  let text: string;
  if (spec.hostNetwork) text = `# Kubernetes-managed hosts file (host network).\n${options.nodeHosts}`;
  else {
    const { hostname, domain } = hostnameOf(pod, options.clusterDomain);
    text =
      '# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' +
      'fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n';
    const names = domain === '' ? hostname : `${hostname}.${domain}\t${hostname}`;
    for (const ip of options.podIPs) text += `${ip}\t${names}\n`;
  }
  if (spec.hostAliases?.length) {
    text += '\n# Entries added by HostAliases.\n';
    for (const alias of spec.hostAliases) text += `${alias.ip}\t${(alias.hostnames ?? []).join('\t')}\n`;
  }
  return text;
}

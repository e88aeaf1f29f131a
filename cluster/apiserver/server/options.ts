// SPDX-License-Identifier: Apache-2.0
// The command line of kube-apiserver, with upstream's flags: what is given is read and checked before anything starts.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { FlagError, parseFlags } from '../../machinery/flags.ts';
import type { Flag } from '../../machinery/flags.ts';
import { setVerbosity } from '../../machinery/log.ts';
import { familyOf } from '../../network/addresses.ts';
import type { RunOptions } from './run.ts';
import { readStaticTokens } from '../authentication/static-tokens.ts';

const flags = {
  'etcd-servers': { type: 'list', description: 'etcd endpoints, such as https://127.0.0.1:2379', required: true },
  'etcd-cafile': { type: 'string', description: "certificate authority of etcd's servers" },
  'etcd-certfile': { type: 'string', description: 'client certificate for etcd' },
  'etcd-keyfile': { type: 'string', description: 'key of the client certificate for etcd' },
  'client-ca-file': { type: 'string', description: 'authority whose client certificates are accepted', required: true },
  'tls-cert-file': { type: 'string', description: 'serving certificate', required: true },
  'tls-private-key-file': { type: 'string', description: 'key of the serving certificate', required: true },
  'service-account-key-file': {
    type: 'list',
    description: 'keys that service-account tokens are verified with',
    required: true,
  },
  'service-account-signing-key-file': {
    type: 'string',
    description: 'key that service-account tokens are signed with',
    required: true,
  },
  'service-account-issuer': {
    type: 'string',
    description: 'issuer of service-account tokens',
    default: 'https://kubernetes.default.svc.cluster.local',
  },
  'api-audiences': { type: 'list', description: 'audiences of the API; the issuer when not given' },
  'service-cluster-ip-range': {
    type: 'list',
    description: 'CIDRs of Service addresses: one, or one per IP family',
    default: ['10.96.0.0/16'],
  },
  'service-node-port-range': { type: 'string', description: 'ports of NodePort Services', default: '30000-32767' },
  'kubelet-certificate-authority': { type: 'string', description: "authority of the kubelets' serving certificates" },
  'kubelet-client-certificate': { type: 'string', description: 'client certificate for kubelets' },
  'kubelet-client-key': { type: 'string', description: 'key of the client certificate for kubelets' },
  'proxy-client-cert-file': { type: 'string', description: 'client certificate for aggregated API servers' },
  'proxy-client-key-file': { type: 'string', description: 'key of the client certificate for aggregated API servers' },
  'requestheader-client-ca-file': {
    type: 'string',
    description: 'authority of that certificate, which aggregated API servers are told',
  },
  'requestheader-allowed-names': {
    type: 'list',
    description: 'names that the certificate may have; any when not given',
  },
  'token-auth-file': { type: 'string', description: 'CSV file of token,user,uid,"group1,group2"' },
  'advertise-address': { type: 'string', description: 'address under which others reach this server' },
  'bind-address': { type: 'string', description: 'address to listen on', default: '0.0.0.0' },
  'secure-port': { type: 'number', description: 'port to listen on', default: 6443 },
  'reported-version': { type: 'string', description: 'Kubernetes version to report', default: 'v1.36.0' },
  v: { type: 'number', description: 'verbosity of the log', default: 0 },
} as const satisfies Record<string, Flag>;

/** Throws FlagError, which names the flag, the value and the remedy. */
export function readOptions(argv: readonly string[]): RunOptions {
  const given = parseFlags(argv, flags);
  setVerbosity(given.v);
  const version = given['reported-version'].startsWith('v')
    ? given['reported-version']
    : `v${given['reported-version']}`;
  if (!/^v\d+\.\d+\.\d+/.test(version)) {
    throw new FlagError(`--reported-version: "${version}" is not a version; write it like v1.36.0`);
  }
  const issuer = given['service-account-issuer'];
  const kubelet = {
    ca: readOptional('kubelet-certificate-authority', given['kubelet-certificate-authority']),
    cert: readOptional('kubelet-client-certificate', given['kubelet-client-certificate']),
    key: readOptional('kubelet-client-key', given['kubelet-client-key']),
  };
  const frontProxy = {
    cert: readOptional('proxy-client-cert-file', given['proxy-client-cert-file']),
    key: readOptional('proxy-client-key-file', given['proxy-client-key-file']),
  };
  const tls = {
    cert: read('tls-cert-file', given['tls-cert-file']),
    key: read('tls-private-key-file', given['tls-private-key-file']),
    ca: read('client-ca-file', given['client-ca-file']),
  };
  checkPair(tls, given);
  return {
    etcd: {
      endpoints: given['etcd-servers'].map(checkEndpoint),
      ...(given['etcd-cafile'] === undefined ? {} : { caFile: readable('etcd-cafile', given['etcd-cafile']) }),
      ...(given['etcd-certfile'] === undefined ? {} : { certFile: readable('etcd-certfile', given['etcd-certfile']) }),
      ...(given['etcd-keyfile'] === undefined ? {} : { keyFile: readable('etcd-keyfile', given['etcd-keyfile']) }),
    },
    tls,
    tokens: {
      issuer,
      apiAudiences: given['api-audiences'].length === 0 ? [issuer] : given['api-audiences'],
      verificationKeys: given['service-account-key-file'].map((file) =>
        read('service-account-key-file', file).toString(),
      ),
      signingKey: read('service-account-signing-key-file', given['service-account-signing-key-file']).toString(),
    },
    staticTokens: readStaticTokens(readOptional('token-auth-file', given['token-auth-file']) ?? ''),
    frontProxy: Object.fromEntries(Object.entries(frontProxy).filter(([, text]) => text !== undefined)),
    frontProxyAuthority: readOptional('requestheader-client-ca-file', given['requestheader-client-ca-file']),
    frontProxyNames: given['requestheader-allowed-names'],
    kubelet: Object.fromEntries(Object.entries(kubelet).filter(([, text]) => text !== undefined)),
    serviceClusterIPRanges: checkRanges(given['service-cluster-ip-range']),
    serviceNodePortRange: given['service-node-port-range'],
    advertiseAddress: given['advertise-address'] ?? ownAddress(),
    bindAddress: given['bind-address'],
    securePort: checkPort(given['secure-port']),
    version,
  };
}

function checkPair(
  tls: { cert: Buffer; key: Buffer; ca: Buffer },
  files: { 'tls-cert-file': string; 'tls-private-key-file': string; 'client-ca-file': string },
): void {
  const certificate = parsed('tls-cert-file', files, () => new X509Certificate(tls.cert));
  const key = parsed('tls-private-key-file', files, () => createPrivateKey(tls.key));
  parsed('client-ca-file', files, () => new X509Certificate(tls.ca));
  if (!certificate.checkPrivateKey(key)) {
    throw new FlagError(
      `--tls-private-key-file: ${files['tls-private-key-file']} is not the key of the certificate in ${files['tls-cert-file']}; give both of one pair`,
    );
  }
}

function parsed<F extends string, T>(flag: F, files: Record<F, string>, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new FlagError(`--${flag}: ${files[flag]} holds no usable PEM: ${(error as Error).message}`);
  }
}

function checkRanges(cidrs: readonly string[]): readonly string[] {
  const families = cidrs.map((cidr) => {
    const [address = '', length = ''] = cidr.split('/');
    const family = familyOf(address);
    const [least, most] = family === 6 ? [108, 126] : [8, 30];
    if (family === undefined || !/^\d+$/.test(length) || Number(length) < least || Number(length) > most) {
      throw new FlagError(
        `--service-cluster-ip-range: "${cidr}" is not a range; write it like 10.96.0.0/16 (/8 to /30) or fd00:10:96::/112 (/108 to /126)`,
      );
    }
    return family;
  });
  if (cidrs.length > 2 || new Set(families).size < cidrs.length) {
    throw new FlagError(`--service-cluster-ip-range: "${cidrs.join(',')}": give one range, or one of each IP family`);
  }
  return cidrs;
}

function checkEndpoint(endpoint: string): string {
  if (!/^https?:\/\/[^/]+:\d+\/?$/.test(endpoint)) {
    throw new FlagError(`--etcd-servers: "${endpoint}" is not an endpoint; write it like https://127.0.0.1:2379`);
  }
  return endpoint;
}

function checkPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new FlagError(`--secure-port: ${port} is not a port; take one from 1 to 65535`);
  }
  return port;
}

function read(flag: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new FlagError(`--${flag}: cannot read ${file}: ${(error as Error).message}`);
  }
}

function readable(flag: string, file: string): string {
  read(flag, file);
  return file;
}

function readOptional(flag: string, file: string | undefined): string | undefined {
  return file === undefined ? undefined : read(flag, file).toString();
}

/** The first address of this machine that others can reach. */
function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const found = addresses.find(({ internal, family }) => !internal && family === 'IPv4');
  return found?.address ?? '127.0.0.1';
}

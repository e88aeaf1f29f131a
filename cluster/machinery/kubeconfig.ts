// SPDX-License-Identifier: Apache-2.0
// Where an API server is and how to prove who we are, from a kubeconfig file or from a pod's service account.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';

/** What a connection needs. `tls` and `token` read their files anew at each call, so that rotated credentials are used. */
export interface Endpoint {
  /** `https://10.0.0.1:6443`, without a trailing slash. */
  readonly server: string;
  readonly tls: () => {
    ca?: Buffer;
    cert?: Buffer;
    key?: Buffer;
    servername?: string;
    rejectUnauthorized?: boolean;
  };
  readonly token: () => string | undefined;
}

const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Reads the current context of a kubeconfig (YAML or JSON); relative file names in it are relative to the file.
 * Errors name the file and what is missing in it.
 */
export function readKubeconfig(path: string, text = readFileSync(path, 'utf8')): Endpoint {
  const config = record(parse(text));
  if (!config) throw new Error(`kubeconfig ${path} is not a YAML mapping`);
  const contextName = string(config['current-context']);
  if (!contextName) throw new Error(`kubeconfig ${path} has no current-context: run kubectl config use-context`);
  const context = named(config['contexts'], contextName, 'context');
  if (!context) throw new Error(`kubeconfig ${path} has no context "${contextName}"`);
  const cluster = named(config['clusters'], string(context['cluster']) ?? '', 'cluster');
  if (!cluster) throw new Error(`kubeconfig ${path} has no cluster "${String(context['cluster'])}"`);
  const user = named(config['users'], string(context['user']) ?? '', 'user') ?? {};
  for (const unsupported of ['exec', 'auth-provider', 'username']) {
    if (user[unsupported] !== undefined) {
      throw new Error(
        `kubeconfig ${path}: user "${String(context['user'])}" has ${unsupported}; use a token or a client certificate`,
      );
    }
  }
  const server = string(cluster['server']);
  if (!server) throw new Error(`kubeconfig ${path}: cluster "${String(context['cluster'])}" has no server`);

  const material = (holder: Record<string, unknown>, key: string): Buffer | undefined => {
    const data = string(holder[`${key}-data`]);
    if (data) return Buffer.from(data, 'base64');
    const file = string(holder[key]);
    return file ? readFileSync(resolve(dirname(path), file)) : undefined;
  };
  return {
    server: server.replace(/\/+$/, ''),
    tls: () => {
      const ca = material(cluster, 'certificate-authority');
      const cert = material(user, 'client-certificate');
      const key = material(user, 'client-key');
      const servername = string(cluster['tls-server-name']);
      return {
        ...(ca && { ca }),
        ...(cert && { cert }),
        ...(key && { key }),
        ...(servername && { servername }),
        ...(cluster['insecure-skip-tls-verify'] === true && { rejectUnauthorized: false }),
      };
    },
    token: () => {
      const file = string(user['tokenFile']);
      return file ? readFileSync(resolve(dirname(path), file), 'utf8').trim() : string(user['token']);
    },
  };
}

/** The API server of the cluster that this process runs in as a pod. */
export function inClusterEndpoint(environment: NodeJS.ProcessEnv = process.env): Endpoint {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'];
  if (!host || !port || !existsSync(`${serviceAccountDirectory}/token`)) {
    throw new Error(
      'not in a pod: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT or the service account token is missing; give --kubeconfig',
    );
  }
  let token = { value: '', readAt: 0 };
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    tls: () => ({ ca: readFileSync(`${serviceAccountDirectory}/ca.crt`) }),
    token: () => {
      if (Date.now() - token.readAt > 60_000) {
        token = { value: readFileSync(`${serviceAccountDirectory}/token`, 'utf8').trim(), readAt: Date.now() };
      }
      return token.value;
    },
  };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function named(list: unknown, name: string, key: string): Record<string, unknown> | undefined {
  if (!Array.isArray(list)) return undefined;
  const entry = list.map(record).find((item) => item?.['name'] === name);
  return entry && record(entry[key]);
}

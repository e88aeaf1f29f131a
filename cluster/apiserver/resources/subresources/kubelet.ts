// SPDX-License-Identifier: Apache-2.0
// Where a node's kubelet listens and how the API server proves itself to it.
import { Agent, request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Node } from '../../../machinery/api-types.ts';
import { internalError, notFound, StatusError } from '../../status.ts';
import type { KubeletCredentials } from '../config.ts';
import type { RequestContext } from '../definition.ts';

const defaultPort = 10250;
const connectTimeoutMs = 10_000;
const addressTypes = ['InternalIP', 'ExternalIP', 'Hostname', 'InternalDNS', 'ExternalDNS'];
const agents = new WeakMap<KubeletCredentials, Agent>();

export interface KubeletAddress {
  readonly host: string;
  readonly port: number;
}

/** Errors: 404 for an unknown node, 500 for one that has told no address yet. */
export function kubeletAddress(nodeName: string, context: RequestContext): KubeletAddress {
  const node = context.registry.get('nodes', undefined, nodeName) as unknown as Node | undefined;
  if (node === undefined) {
    throw notFound({ group: '', plural: 'nodes' }, nodeName);
  }
  const addresses = node.status?.addresses ?? [];
  for (const type of addressTypes) {
    const found = addresses.find((address) => address.type === type);
    if (found !== undefined) {
      const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? 0;
      return { host: found.address, port: port === 0 ? defaultPort : port };
    }
  }
  throw internalError(`no preferred addresses found; known addresses: ${JSON.stringify(addresses)}`);
}

/**
 * Sends one request without a body and returns the response's head; the body is a stream. A kept connection that the kubelet
 * has closed meanwhile says nothing about the kubelet: the request is sent again.
 */
export async function askKubelet(
  credentials: KubeletCredentials,
  address: KubeletAddress,
  options: { readonly method: string; readonly path: string; readonly headers?: Record<string, string> },
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request({ ...address, ...options, agent: agentOf(credentials) });
  // Only the time until the response counts; a followed log may then be silent for hours.
  sent.setTimeout(connectTimeoutMs, () => sent.destroy(new Error('i/o timeout')));
  sent.on('response', (response) => {
    sent.setTimeout(0);
    resolve(response);
  });
  sent.on('error', (error) => {
    const stale = sent.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    if (stale) askKubelet(credentials, address, options).then(resolve, reject);
    else reject(dialError(address, error));
  });
  sent.end();
  return promise;
}

/** Opens a TLS connection for an upgraded stream. Errors: 500 as kubectl shows them (`error dialing backend`). */
export async function dialKubelet(credentials: KubeletCredentials, address: KubeletAddress): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connect({ ...address, ...tlsOptions(credentials), ALPNProtocols: ['http/1.1'] });
  socket.setTimeout(connectTimeoutMs, () => socket.destroy(new Error('i/o timeout')));
  socket.once('error', (error) => reject(dialError(address, error)));
  socket.once('secureConnect', () => {
    socket.setTimeout(0);
    socket.setNoDelay(true);
    resolve(socket);
  });
  return promise;
}

export function agentOf(credentials: KubeletCredentials): Agent {
  let agent = agents.get(credentials);
  if (agent === undefined) {
    agent = new Agent({ keepAlive: true, maxFreeSockets: 8, ...tlsOptions(credentials) });
    agents.set(credentials, agent);
  }
  return agent;
}

export function dialError({ host, port }: KubeletAddress, error: Error): StatusError {
  const code = (error as NodeJS.ErrnoException).code;
  const why = code === 'ECONNREFUSED' ? 'connect: connection refused' : error.message;
  return new StatusError(500, '', `error dialing backend: dial tcp ${host}:${port}: ${why}`);
}

function tlsOptions({ ca, cert, key }: KubeletCredentials): ConnectionOptions {
  return {
    ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}

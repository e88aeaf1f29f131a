// SPDX-License-Identifier: Apache-2.0
// Asks the services behind admission and conversion webhooks.
import https from 'node:https';
import { isIP } from 'node:net';
import type { WebhookClientConfig } from '../../machinery/api-types.ts';
import type { Registry } from '../resources/definition.ts';
import { readyEndpoint } from '../resources/subresources/service-endpoints.ts';

/**
 * Posts a review as JSON and resolves to the answer, decoded.
 * Errors: an Error that says why when there is no answer in time or its status is not 200.
 */
export async function callWebhook(
  clientConfig: WebhookClientConfig,
  body: object,
  { registry, seconds }: { registry: Registry; seconds: number },
): Promise<unknown> {
  const { host, port, path, serverName } = destination(clientConfig, registry);
  const bundle = clientConfig.caBundle;
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(seconds * 1000);
  const query = `${path}${path.includes('?') ? '&' : '?'}timeout=${seconds}s`;
  const fail = (error: Error): void => {
    const late = `Post "https://${serverName}:${clientConfig.service?.port ?? port}${query}": context deadline exceeded`;
    reject(signal.aborted ? new Error(late) : error);
  };
  const sent = https.request(
    {
      host,
      port,
      path: query,
      method: 'POST',
      ...(isIP(serverName) === 0 && { servername: serverName }),
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      signal,
      ...(bundle !== undefined && bundle !== '' && { ca: Buffer.from(bundle, 'base64') }),
    },
    (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', fail);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) {
          resolve(text);
        } else {
          reject(new Error(`the server answered with status ${response.statusCode}: ${text.slice(0, 200)}`));
        }
      });
    },
  );
  sent.on('error', fail);
  sent.end(JSON.stringify(body));
  return JSON.parse(await promise) as unknown;
}

interface Destination {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Name that the server's certificate has to have. */
  readonly serverName: string;
}

function destination(clientConfig: WebhookClientConfig, registry: Registry): Destination {
  if (clientConfig.url !== undefined) {
    const url = new URL(clientConfig.url);
    const port = url.port === '' ? 443 : Number(url.port);
    return { host: url.hostname, port, path: `${url.pathname}${url.search}`, serverName: url.hostname };
  }
  const { namespace = '', name = '', path = '/', port = 443 } = clientConfig.service ?? {};
  const service = registry.get('services', namespace, name);
  if (service === undefined) {
    throw new Error(`service ${JSON.stringify(name)} not found`);
  }
  // Not the cluster's address: the API server need not be where cluster addresses work.
  return { ...readyEndpoint(service, port, registry), path, serverName: `${name}.${namespace}.svc` };
}

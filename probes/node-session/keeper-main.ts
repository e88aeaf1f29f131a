// SPDX-License-Identifier: Apache-2.0
/**
 * The agent's verb `keeper`, main process of a node probe that belongs to one command: deletes its own namespace when the command's Lease has
 * not been renewed for its duration, so that a command that was killed leaves nothing behind. Its role allows that and nothing else.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';

const account = '/var/run/secrets/kubernetes.io/serviceaccount';
const lookMs = 3_000;

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** `PLUMB_LEASE` names the Lease. Errors are tried again: the network may be what is being looked at. */
export async function keepNamespace(): Promise<void> {
  const lease = process.env['PLUMB_LEASE'] ?? '';
  const namespace = readFileSync(`${account}/namespace`, 'utf8').trim();
  let renewed = '';
  let since = performance.now();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, lookMs));
    const answer = await call('GET', `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${lease}`);
    const spec = answer?.status === 200 ? specOf(answer.body) : undefined;
    // The node's clock may differ from that of whoever renews: what counts is for how long nothing has changed.
    if (spec !== undefined && spec.renewTime !== renewed) {
      renewed = spec.renewTime;
      since = performance.now();
    } else if (performance.now() - since > (spec?.leaseDurationSeconds ?? 60) * 1000) {
      await call('DELETE', `/api/v1/namespaces/${namespace}`);
    }
  }
}

function specOf(body: string): { readonly renewTime: string; readonly leaseDurationSeconds: number } | undefined {
  const { spec } = JSON.parse(body) as { spec?: { renewTime?: string; leaseDurationSeconds?: number } };
  if (spec?.renewTime === undefined || spec.leaseDurationSeconds === undefined) return undefined;
  return { renewTime: spec.renewTime, leaseDurationSeconds: spec.leaseDurationSeconds };
}

/** undefined: no answer. */
function call(method: string, path: string): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const outgoing = request(
      {
        method,
        path,
        host: process.env['KUBERNETES_SERVICE_HOST'],
        port: process.env['KUBERNETES_SERVICE_PORT'],
        ca: readFileSync(`${account}/ca.crt`),
        headers: { Authorization: `Bearer ${readFileSync(`${account}/token`, 'utf8').trim()}` },
        timeout: 5_000,
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        response.on('error', () => resolve(undefined));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy());
    outgoing.on('error', () => resolve(undefined));
    outgoing.end();
  });
}

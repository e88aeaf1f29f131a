// SPDX-License-Identifier: Apache-2.0
// Service account tokens for pods: asked of the API server, bound to the pod, kept until they should be renewed (80 % of their life, or a day).
import type { Pod, ServiceAccountTokenProjection } from '../../machinery/api-types.ts';
import type { Client } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';

interface Kept {
  readonly token: string;
  readonly renewAt: number;
  readonly expiresAt: number;
}

export class TokenManager {
  readonly #client: Client;
  readonly #kept = new Map<string, Kept>();

  constructor(client: Client) {
    this.#client = client;
  }

  async token(
    pod: Pod,
    projection: Pick<ServiceAccountTokenProjection, 'audience' | 'expirationSeconds'>,
  ): Promise<string> {
    return (await this.request(pod, projection)).token;
  }

  async request(
    pod: Pod,
    projection: Pick<ServiceAccountTokenProjection, 'audience' | 'expirationSeconds'>,
  ): Promise<{ token: string; expiresAt: number }> {
    const { uid, name, namespace } = identityOf(pod);
    const account = specOf(pod).serviceAccountName || 'default';
    const expirationSeconds = projection.expirationSeconds ?? 3600;
    const key = `${uid}/${account}/${projection.audience ?? ''}/${expirationSeconds}`;
    const kept = this.#kept.get(key);
    const now = Date.now();
    if (kept && now < kept.renewAt) return kept;
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: projection.audience ? [projection.audience] : [],
        expirationSeconds,
        boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, uid },
      },
    };
    try {
      const answer = await this.#client.create<{ status?: { token: string; expirationTimestamp: string } }>(
        resources.serviceAccounts,
        body,
        {
          namespace,
          name: account,
          subresource: 'token',
        },
      );
      const token = answer.status?.token ?? '';
      const expiresAt = Date.parse(answer.status?.expirationTimestamp ?? '') || now + expirationSeconds * 1000;
      // A little chance spreads the renewals of many pods.
      const renewAt = Math.min(now + (expiresAt - now) * 0.8, now + 86_400_000) - Math.random() * 10_000;
      const fresh = { token, renewAt, expiresAt };
      this.#kept.set(key, fresh);
      return fresh;
    } catch (error) {
      if (kept && now < kept.expiresAt) return kept;
      throw new Error(`failed to fetch token for service account ${namespace}/${account}`, { cause: error });
    }
  }

  /** When the earliest token of this pod should be renewed; Infinity when it has none. */
  nextRenewal(uid: string): number {
    let next = Infinity;
    for (const [key, kept] of this.#kept) if (key.startsWith(`${uid}/`)) next = Math.min(next, kept.renewAt);
    return next;
  }

  forgetPod(uid: string): void {
    for (const key of this.#kept.keys()) if (key.startsWith(`${uid}/`)) this.#kept.delete(key);
  }
}

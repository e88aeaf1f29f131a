// SPDX-License-Identifier: Apache-2.0
// Tokens of the controllers' own service accounts in kube-system, asked for at first use and renewed before they expire.
import { isAlreadyExists, isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';

const namespace = 'kube-system';
const lifetimeSeconds = 3600;

export class Identities {
  readonly #client: Client;
  readonly #tokens = new Map<string, { token: Promise<string>; renewAt: number }>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** Errors: `ApiError` when the account or its token is refused; the next call tries again. */
  token(account: string): Promise<string> {
    const known = this.#tokens.get(account);
    if (known && known.renewAt > Date.now()) return known.token;
    const token = this.#request(account);
    this.#tokens.set(account, { token, renewAt: Date.now() + lifetimeSeconds * 800 });
    token.catch(() => this.#tokens.delete(account));
    return token;
  }

  async #request(account: string): Promise<string> {
    const ask = async (): Promise<string> => {
      const body = {
        kind: 'TokenRequest',
        apiVersion: 'authentication.k8s.io/v1',
        spec: { expirationSeconds: lifetimeSeconds },
      };
      const options = { namespace, name: account, subresource: 'token' };
      const answer = await this.#client.create<{ status?: { token?: string } }>(
        resources.serviceAccounts,
        body,
        options,
      );
      if (!answer.status?.token) throw new Error(`the API server gave no token for service account ${account}`);
      return answer.status.token;
    };
    try {
      return await ask();
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    try {
      await this.#client.create(resources.serviceAccounts, { metadata: { name: account, namespace } });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
    return ask();
  }
}

// SPDX-License-Identifier: Apache-2.0
// Who may use the kubelet's API: client certificates of the cluster CA, bearer tokens by TokenReview, rights by SubjectAccessReview on the node's
// subresources. Decisions are kept for a short while. Nobody anonymous is let in unless the configuration says so.
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { SubjectAccessReview, TokenReview } from '../../machinery/api-types.ts';
import type { Client } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import type { KubeletConfiguration } from '../configuration.ts';

export interface Caller {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string | undefined;
  readonly extra?: Readonly<Record<string, string[]>> | undefined;
}

export type Decision =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly status: 401 | 403; readonly message: string };

const allowedMs = 300_000;
const deniedMs = 30_000;

export class Gatekeeper {
  readonly #client: Client;
  readonly #config: KubeletConfiguration;
  readonly #nodeName: string;
  readonly #tokens = new Map<string, { caller: Caller | undefined; until: number }>();
  readonly #rights = new Map<string, { allowed: boolean; until: number }>();

  constructor(client: Client, config: KubeletConfiguration, nodeName: string) {
    this.#client = client;
    this.#config = config;
    this.#nodeName = nodeName;
  }

  async decide(request: IncomingMessage, path: string): Promise<Decision> {
    const caller =
      (await this.#caller(request)) ??
      (this.#config.anonymousAuth ? { name: 'system:anonymous', groups: ['system:unauthenticated'] } : undefined);
    if (caller === undefined) return { allowed: false, status: 401, message: 'Unauthorized' };
    if (this.#config.authorizationMode === 'AlwaysAllow' || caller.groups.includes('system:masters'))
      return { allowed: true };
    const verb = verbs[request.method ?? 'GET'] ?? 'create';
    for (const subresource of subresourcesOf(path)) {
      if (await this.#mayUse(caller, verb, subresource)) return { allowed: true };
    }
    const subresource = subresourcesOf(path).at(-1) ?? 'proxy';
    const message = `Forbidden (user=${caller.name}, verb=${verb}, resource=nodes, subresource(s)=[${subresource}])\n`;
    return { allowed: false, status: 403, message };
  }

  async #caller(request: IncomingMessage): Promise<Caller | undefined> {
    const socket = request.socket as TLSSocket;
    if (socket.authorized) {
      const { subject } = socket.getPeerCertificate();
      const organization: unknown = (subject as unknown as Record<string, unknown> | undefined)?.['O'];
      const groups =
        organization === undefined
          ? []
          : Array.isArray(organization)
            ? organization.map(String)
            : [String(organization)];
      const commonName = String((subject as unknown as Record<string, unknown> | undefined)?.['CN'] ?? '');
      if (commonName !== '') return { name: commonName, groups: [...groups, 'system:authenticated'] };
    }
    const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined || !this.#config.webhookAuth) return undefined;
    const kept = this.#tokens.get(token);
    if (kept && Date.now() < kept.until) return kept.caller;
    const review = await this.#client.create<TokenReview>(resources.tokenReviews, { spec: { token } });
    const user = review.status?.authenticated ? review.status.user : undefined;
    const caller = user && { name: user.username ?? '', groups: user.groups ?? [], uid: user.uid, extra: user.extra };
    if (this.#tokens.size > 1000) this.#tokens.clear();
    this.#tokens.set(token, { caller, until: Date.now() + (caller ? 120_000 : 5_000) });
    return caller;
  }

  async #mayUse(caller: Caller, verb: string, subresource: string): Promise<boolean> {
    const key = JSON.stringify([caller.name, caller.groups, verb, subresource]);
    const kept = this.#rights.get(key);
    if (kept && Date.now() < kept.until) return kept.allowed;
    const review = await this.#client.create<SubjectAccessReview>(resources.subjectAccessReviews, {
      spec: {
        user: caller.name,
        groups: caller.groups,
        ...(caller.uid && { uid: caller.uid }),
        ...(caller.extra && { extra: caller.extra }),
        resourceAttributes: { verb, group: '', version: 'v1', resource: 'nodes', subresource, name: this.#nodeName },
      },
    });
    const allowed = review.status?.allowed ?? false;
    if (this.#rights.size > 1000) this.#rights.clear();
    this.#rights.set(key, { allowed, until: Date.now() + (allowed ? allowedMs : deniedMs) });
    return allowed;
  }
}

const verbs: Record<string, string> = {
  GET: 'get',
  HEAD: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** Which node subresources give the right to a path; any one of them is enough. */
export function subresourcesOf(path: string): string[] {
  const first = path.split('/')[1] ?? '';
  const fine: Record<string, string> = {
    stats: 'stats',
    metrics: 'metrics',
    logs: 'log',
    healthz: 'healthz',
    configz: 'configz',
    pods: 'pods',
    runningpods: 'pods',
  };
  const own = fine[first];
  if (own === undefined) return ['proxy'];
  return first === 'stats' || first === 'metrics' || first === 'logs' ? [own] : [own, 'proxy'];
}

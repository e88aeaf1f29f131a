// SPDX-License-Identifier: Apache-2.0
/** Where objects of a kind live on the server, by discovery, remembered per client. */
import type { KubeClients } from '../../suites/kube-clients.ts';

export interface ServedResource {
  readonly plural: string;
  readonly namespaced: boolean;
  /** Path of the collection; `namespace` is needed for namespaced kinds unless all namespaces are meant. */
  path(namespace?: string): string;
}

/** The server answered with something else than success. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
  readonly status: number;
  constructor(status: number, request: string, body: string) {
    super(`${request} answered ${status}: ${statusMessage(body)}`);
    this.status = status;
  }
}

const remembered = new WeakMap<KubeClients, Map<string, Promise<ServedResource>>>();

export async function resourceOf(kube: KubeClients, apiVersion: string, kind: string): Promise<ServedResource> {
  const known = remembered.get(kube) ?? new Map<string, Promise<ServedResource>>();
  remembered.set(kube, known);
  const key = `${apiVersion}/${kind}`;
  const found = known.get(key) ?? discover(kube, apiVersion, kind);
  known.set(key, found);
  // A kind that is not there yet (a CustomResourceDefinition about to be served) must not be remembered as missing.
  found.catch(() => known.delete(key));
  return found;
}

async function discover(kube: KubeClients, apiVersion: string, kind: string): Promise<ServedResource> {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const response = await kube.request({ path: root });
  if (response.status !== 200) throw new RequestFailed(response.status, `GET ${root}`, response.body.toString());
  const { resources } = response.json() as { resources: { name: string; kind: string; namespaced: boolean }[] };
  const found = resources.find((resource) => resource.kind === kind && !resource.name.includes('/'));
  if (found === undefined) throw new Error(`the server has no kind ${kind} in ${apiVersion}`);
  return {
    plural: found.name,
    namespaced: found.namespaced,
    path: (namespace) =>
      found.namespaced && namespace !== undefined
        ? `${root}/namespaces/${namespace}/${found.name}`
        : `${root}/${found.name}`,
  };
}

/** The message of a Status, or the start of whatever else was answered. */
export function statusMessage(body: string): string {
  try {
    const status = JSON.parse(body) as { message?: unknown };
    if (typeof status.message === 'string') return status.message;
  } catch {
    // Not a Status: show it as it is.
  }
  return body.slice(0, 300);
}

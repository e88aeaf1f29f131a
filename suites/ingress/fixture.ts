// SPDX-License-Identifier: Apache-2.0
/** What Ingress cases begin with: backends behind Services, the class to ask for, and the address at which the controller answers. */
import type { V1Ingress, V1IngressBackend, V1IngressSpec } from '@kubernetes/client-node';
import type { ProbePod } from '../../probes/agent/prober.ts';
import type { AttemptResult } from '../../probes/agent/protocol.ts';
import { eventually } from '../attempts.ts';
import { done, pending, type CaseContext } from '../case.ts';

export interface Site {
  readonly namespace: string;
  readonly client: ProbePod;
  /** Ends names of hosts, so that no two cases have one in common. */
  readonly domain: string;
  readonly className: string;
}

export const defaultClassAnnotation = 'ingressclass.kubernetes.io/is-default-class';

/** A client, and for each name a server `NAME` behind a Service `NAME` with port 80, named `web`. */
export async function startSite(t: CaseContext, names: readonly string[]): Promise<Site> {
  const namespace = await t.namespace();
  const { workers } = t.cluster;
  const className = await classToAsk(t);
  const [client] = await t.probes.pods([
    { namespace, name: 'client', node: workers[0] ?? '' },
    ...names.map((name, index) => ({
      namespace,
      name,
      node: workers[(index + 1) % workers.length] ?? '',
      labels: { role: name },
    })),
  ]);
  if (client === undefined) throw new RangeError('no client was started');
  for (const name of names) {
    const ports = [{ name: 'web', port: 80, targetPort: 8080 }];
    await t.kube.core.createNamespacedService({
      namespace,
      body: { metadata: { name }, spec: { selector: { role: name }, ports } },
    });
  }
  return { namespace, client, domain: `${namespace}.example`, className };
}

/** The default class; the only one where none is marked. */
export async function classToAsk(t: CaseContext): Promise<string> {
  const { items } = await t.kube.networking.listIngressClass();
  const marked = items.filter(({ metadata }) => metadata?.annotations?.[defaultClassAnnotation] === 'true');
  const [chosen, ...others] = marked.length > 0 ? marked : items;
  if (chosen?.metadata?.name === undefined) return t.skip('the cluster has no IngressClass');
  if (others.length > 0 && marked.length === 0) return t.skip('several IngressClasses, and none is the default one');
  return chosen.metadata.name;
}

export async function createIngress(t: CaseContext, site: Site, spec: V1IngressSpec, name = 'site'): Promise<void> {
  const body: V1Ingress = { metadata: { name }, spec: { ingressClassName: site.className, ...spec } };
  await t.kube.networking.createNamespacedIngress({ namespace: site.namespace, body });
}

/** Where the controller says that it serves this Ingress. */
export function addressOf(t: CaseContext, { namespace }: Site, name = 'site'): Promise<string> {
  return t.waitFor(`the Ingress ${name} to have an address`, async () => {
    const { status } = await t.kube.networking.readNamespacedIngress({ namespace, name });
    const [first] = status?.loadBalancer?.ingress ?? [];
    const address = first?.ip ?? first?.hostname;
    return address === undefined ? pending('status.loadBalancer is empty') : done(address);
  });
}

export function backend(name: string, port: { name?: string; number?: number } = { number: 80 }): V1IngressBackend {
  return { service: { name, port } };
}

export interface Visit {
  readonly address: string;
  readonly host: string;
  readonly path?: string;
}

/** Waits until the answer to this request is from that server; `nobody`: from none of ours. */
export function answeredBy(t: CaseContext, site: Site, visit: Visit & { readonly by: string }): Promise<AttemptResult> {
  const { address, host, path = '/', by } = visit;
  return eventually(
    t,
    site.client,
    { protocol: 'http', host: address, port: 80, hostHeader: host, path },
    {
      what: `http://${host}${path} at ${address} to be answered by ${by}`,
      until: ({ outcome, server, http }) =>
        outcome === 'allowed' &&
        (by === 'nobody' ? server === undefined && http !== undefined : server?.hostname === by),
      timeoutMs: 30_000,
    },
  );
}

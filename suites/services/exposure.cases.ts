// SPDX-License-Identifier: Apache-2.0
/** Addresses of a Service besides its own: external ones, those of a load balancer, and what a load balancer asks nodes. */
import type { V1Service } from '@kubernetes/client-node';
import { expect } from 'chai';
import { eventually, reaches } from '../attempts.ts';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { addressOf, expose, namesOf, startBackends } from './fixture.ts';

export const externalAddress = defineCase(
  {
    id: 'services.external-ip',
    area: 'services',
    title: 'An external address of a Service leads to its endpoints',
    description:
      'Packets of a pod to an address in spec.externalIPs and the Service’s port MUST be answered by an endpoint, whoever has the address. The address is one for documentation (RFC 5737), so that nothing of the network is hidden by it.',
    requirements: ['000 §12', '001 §8', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    const host = `198.51.100.${1 + Math.floor(Math.random() * 250)}`;
    await expose(t, namespace, { externalIPs: [host] }).catch((error: unknown) => {
      if ((error as { code?: unknown }).code === 403) t.skip('the cluster forbids spec.externalIPs');
      throw error;
    });
    await reaches(t, client, { protocol: 'tcp', host, port: 80 }, namesOf(servers));
  },
);

export const balancerAddress = defineCase(
  {
    id: 'services.load-balancer.address',
    area: 'services',
    title: 'A load balancer address leads to the endpoints and goes with its Service',
    description:
      'A Service of type LoadBalancer MUST get an address that pods reach on its port. Made a ClusterIP Service again, it MUST lose the address and keep its cluster address.',
    requirements: ['001 §8', '003 Services'],
    modes: ['network'],
    needs: ['load-balancer'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 2);
    const service = await expose(t, namespace, { type: 'LoadBalancer' });
    const host = await balancerOf(t, service);
    await reaches(t, client, { protocol: 'tcp', host, port: 80 }, namesOf(servers));
    await t.kube.core.patchNamespacedService({
      name: 'web',
      namespace,
      body: [{ op: 'replace', path: '/spec/type', value: 'ClusterIP' }],
    });
    await t.waitFor('the address to go from the status', async () => {
      const { status } = await t.kube.core.readNamespacedService({ name: 'web', namespace });
      const left = status?.loadBalancer?.ingress ?? [];
      return left.length === 0 ? done(undefined) : pending(`there is ${left[0]?.ip ?? left[0]?.hostname}`);
    });
    await reaches(t, client, { protocol: 'tcp', host: addressOf(service), port: 80 }, namesOf(servers));
  },
);

export const sourceRanges = defineCase(
  {
    id: 'services.load-balancer.source-ranges',
    area: 'services',
    title: 'A load balancer address admits the listed sources only',
    description:
      'With one pod’s address in spec.loadBalancerSourceRanges, that pod MUST be answered at the load balancer’s address and another one MUST NOT.',
    requirements: ['002 kube-proxy', '003 Services'],
    modes: ['network'],
    needs: ['load-balancer'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    const stranger = await t.probes.pod({ namespace, name: 'stranger', node: client.node });
    const range = `${client.ip}/${client.ip.includes(':') ? 128 : 32}`;
    const service = await expose(t, namespace, { type: 'LoadBalancer', loadBalancerSourceRanges: [range] });
    const request = { protocol: 'tcp', host: await balancerOf(t, service), port: 80, timeoutMs: 700 } as const;
    await reaches(t, client, request, namesOf(servers));
    await eventually(t, stranger, request, {
      what: 'the pod whose address is not listed not to be answered',
      until: ({ outcome }) => outcome !== 'allowed',
    });
  },
);

export const healthCheckPort = defineCase(
  {
    id: 'services.health-check-node-port',
    area: 'services',
    title: 'The health check port says which nodes have endpoints',
    description:
      'For a LoadBalancer Service with externalTrafficPolicy Local, spec.healthCheckNodePort MUST answer 200 on a node with a ready endpoint and 503 on one without; no load balancer needs to be there for that.',
    requirements: ['002 kube-proxy', '003 Services'],
    modes: ['network'],
    needs: ['two-nodes', 'node-probe'],
  },
  async (t) => {
    const [first = '', second = ''] = t.cluster.workers;
    const namespace = await t.namespace();
    await t.probes.pod({ namespace, name: 'server', node: first, labels: { role: 'server' } });
    const service = await expose(t, namespace, { type: 'LoadBalancer', externalTrafficPolicy: 'Local' });
    const port = service.spec?.healthCheckNodePort ?? 0;
    expect(port, 'spec.healthCheckNodePort').to.be.greaterThan(0);
    for (const [node, from, wanted] of [
      [first, second, 200],
      [second, first, 503],
    ] as const) {
      const probe = await t.probes.node(from);
      await eventually(
        t,
        probe,
        { protocol: 'http', host: internalAddress(t, node), port, path: '/healthz' },
        {
          what: `the health check port of ${node} to answer ${wanted}`,
          until: ({ http }) => http?.status === wanted,
        },
      );
    }
  },
);

async function balancerOf(t: CaseContext, { metadata }: V1Service): Promise<string> {
  const [name, namespace] = [metadata?.name ?? '', metadata?.namespace ?? ''];
  const ingress = await t.waitFor('the Service to get the address of a load balancer', async () => {
    const { status } = await t.kube.core.readNamespacedService({ name, namespace });
    const found = status?.loadBalancer?.ingress?.[0];
    return found === undefined ? pending('none yet') : done(found);
  });
  if (ingress.ipMode === 'Proxy') t.skip('the load balancer is beside the cluster: pods may not reach its address');
  return ingress.ip ?? ingress.hostname ?? '';
}

function internalAddress(t: CaseContext, node: string): string {
  const found = t.cluster.nodes.find(({ metadata }) => metadata?.name === node);
  return found?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? '';
}

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { V1Service } from '@kubernetes/client-node';
import { eventually, reaches } from '../attempts.ts';
import { defineCase, type CaseContext } from '../case.ts';
import { addressOf, expose, namesOf, startBackends } from './fixture.ts';

export const everyNode = defineCase(
  {
    id: 'services.node-port.every-node',
    area: 'services',
    title: 'A NodePort answers on every node',
    description:
      'A pod MUST reach the Service through the node port of every Ready node, whether or not an endpoint runs there.',
    requirements: ['000 §16', '001 §8', '002 kube-proxy'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    const port = nodePortOf(await expose(t, namespace, { type: 'NodePort' }));
    expect(port).to.be.within(30_000, 32_767);
    for (const node of t.cluster.workers) {
      await reaches(t, client, { protocol: 'tcp', host: internalAddress(t, node), port }, namesOf(servers));
    }
  },
);

export const fromNode = defineCase(
  {
    id: 'services.node-port.from-node',
    area: 'services',
    title: 'A NodePort answers to other nodes, over TCP and UDP',
    description: 'A process in one node’s host network MUST reach the node port of another node.',
    requirements: ['000 §12', '001 §8'],
    modes: ['network'],
    needs: ['two-nodes', 'node-probe'],
  },
  async (t) => {
    const { namespace, servers } = await startBackends(t, 1);
    const service = await expose(t, namespace, {
      type: 'NodePort',
      ports: [
        { name: 'tcp', port: 80, targetPort: 8080, protocol: 'TCP' },
        { name: 'udp', port: 80, targetPort: 8080, protocol: 'UDP' },
      ],
    });
    const [first = '', second = ''] = t.cluster.workers;
    const probe = await t.probes.node(first);
    for (const [index, protocol] of (['tcp', 'udp'] as const).entries()) {
      const port = service.spec?.ports?.[index]?.nodePort ?? 0;
      await reaches(t, probe, { protocol, host: internalAddress(t, second), port }, namesOf(servers));
    }
  },
);

export const externalPolicyLocal = defineCase(
  {
    id: 'services.external-traffic-policy.local',
    area: 'services',
    title: 'externalTrafficPolicy Local keeps the source address and uses only endpoints of the node',
    description:
      'With Local, the endpoint MUST see the client’s own address, and a node without an endpoint MUST NOT answer on its node port.',
    requirements: ['000 §16', '001 §8'],
    modes: ['network'],
    needs: ['two-nodes', 'node-probe'],
  },
  async (t) => {
    const [first = '', second = ''] = t.cluster.workers;
    const namespace = await t.namespace();
    const server = await t.probes.pod({ namespace, name: 'server', node: first, labels: { role: 'server' } });
    const port = nodePortOf(await expose(t, namespace, { type: 'NodePort', externalTrafficPolicy: 'Local' }));
    const outside = await t.probes.node(second);
    const answer = await reaches(t, outside, { protocol: 'tcp', host: internalAddress(t, first), port }, [server.name]);
    expect(answer.server?.clientAddress, 'the source address that the endpoint sees').to.equal(
      internalAddress(t, second),
    );
    const otherNode = await t.probes.node(first);
    await eventually(
      t,
      otherNode,
      { protocol: 'tcp', host: internalAddress(t, second), port, timeoutMs: 700 },
      { what: 'the node without an endpoint not to answer', until: ({ outcome }) => outcome !== 'allowed' },
    );
  },
);

export const internalPolicyLocal = defineCase(
  {
    id: 'services.internal-traffic-policy.local',
    area: 'services',
    title: 'internalTrafficPolicy Local uses only endpoints of the client’s node',
    description:
      'A client on a node with an endpoint MUST be answered by it; a client on a node without one MUST NOT be answered.',
    requirements: ['003 Services'],
    modes: ['network'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const [first = '', second = ''] = t.cluster.workers;
    const namespace = await t.namespace();
    const [server, near, far] = await t.probes.pods([
      { namespace, name: 'server', node: first, labels: { role: 'server' } },
      { namespace, name: 'near', node: first },
      { namespace, name: 'far', node: second },
    ]);
    if (server === undefined || near === undefined || far === undefined) throw new RangeError('a pod is missing');
    const host = addressOf(await expose(t, namespace, { internalTrafficPolicy: 'Local' }));
    const request = { protocol: 'tcp', host, port: 80, timeoutMs: 700 } as const;
    await reaches(t, near, request, [server.name]);
    await eventually(t, far, request, {
      what: 'the client on the node without an endpoint not to be answered',
      until: ({ outcome }) => outcome !== 'allowed',
    });
  },
);

function nodePortOf(service: V1Service): number {
  return service.spec?.ports?.[0]?.nodePort ?? 0;
}

function internalAddress(t: CaseContext, node: string): string {
  const found = t.cluster.nodes.find(({ metadata }) => metadata?.name === node);
  return found?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? '';
}

// SPDX-License-Identifier: Apache-2.0
/** Which endpoints a Service uses while they come, go and drain, and for which clients. */
import { expect } from 'chai';
import { eventually, reaches } from '../attempts.ts';
import { defineCase, done, pending } from '../case.ts';
import { addressOf, expose, namesOf, startBackends } from './fixture.ts';

export const terminating = defineCase(
  {
    id: 'services.endpoints.terminating',
    area: 'services',
    title: 'The last endpoint serves while it terminates, and no longer once another is ready',
    description:
      'While the only endpoint of a Service is terminating and still serving, connections MUST be answered by it; as soon as another endpoint is ready, new connections MUST all go there.',
    requirements: ['000 §12', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1, {
      container: { lifecycle: { preStop: { exec: { command: ['/bin/busybox', 'sleep', '20'] } } } },
      spec: { terminationGracePeriodSeconds: 30 },
    });
    const host = addressOf(await expose(t, namespace));
    const request = { protocol: 'tcp', host, port: 80, timeoutMs: 1_000 } as const;
    await reaches(t, client, request, namesOf(servers));
    const [leaving = ''] = namesOf(servers);
    await t.kube.core.deleteNamespacedPod({ name: leaving, namespace });
    await t.waitFor('the endpoint to be marked as terminating', async () => {
      const { items } = await t.kube.discovery.listNamespacedEndpointSlice({
        namespace,
        labelSelector: 'kubernetes.io/service-name=web',
      });
      const conditions = items.flatMap(({ endpoints }) => endpoints ?? []).map((endpoint) => endpoint.conditions);
      return conditions.some((condition) => condition?.terminating === true)
        ? done(undefined)
        : pending(JSON.stringify(conditions));
    });
    for (let round = 0; round < 10; round++) {
      const { outcome, server } = await client.attempt(request);
      expect(`${outcome} ${server?.hostname ?? ''}`, `connection ${round} to the draining endpoint`).to.equal(
        `allowed ${leaving}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await t.probes.pod({ namespace, name: 'server-fresh', labels: { role: 'server' } });
    await t.waitFor('20 connections in a row to be answered by the ready endpoint', async () => {
      const results = await client.attempts(Array.from({ length: 20 }, () => request));
      const wrong = results.find(({ server }) => server?.hostname !== 'server-fresh');
      return wrong === undefined ? done(undefined) : pending(`${wrong.outcome} ${wrong.server?.hostname ?? ''}`);
    });
  },
);

export const udpFlow = defineCase(
  {
    id: 'services.endpoints.udp-flow',
    area: 'services',
    title: 'A UDP client that goes on sending follows the endpoints',
    description:
      'A client that sends from one port all the time MUST be answered by a new endpoint once the former one has left the Service, although that still runs; and by the first endpoint of a Service that had none when it began to send.',
    requirements: ['000 §12', '001 §8', '002 kube-proxy'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    const host = addressOf(
      await expose(t, namespace, { ports: [{ name: 'web', protocol: 'UDP', port: 80, targetPort: 8080 }] }),
    );
    const [old = ''] = namesOf(servers);
    const flow = { protocol: 'udp', host, port: 80, localPort: 41_000, timeoutMs: 500 } as const;
    await reaches(t, client, flow, [old]);
    const relabel = async (name: string, value: string): Promise<void> => {
      const body = [{ op: 'replace', path: '/metadata/labels/role', value }];
      await t.kube.core.patchNamespacedPod({ name, namespace, body });
    };
    const fresh = await t.probes.pod({ namespace, name: 'server-fresh', labels: { role: 'server' } });
    await relabel(old, 'former');
    await t.step('the flow moves to the endpoint that stays', async () => reaches(t, client, flow, [fresh.name]));
    await relabel(fresh.name, 'former');
    // From a new port each time: a flow that began while the endpoint was there may go on, as kube-proxy has it.
    const { localPort: _, ...fromAnyPort } = flow;
    await eventually(t, client, fromAnyPort, {
      what: 'the Service without endpoints not to answer',
      until: ({ outcome }) => outcome !== 'allowed',
    });
    const other = { ...flow, localPort: 41_001 };
    const [unanswered] = await client.attempts([other]);
    expect(unanswered?.outcome, 'a new flow to the Service without endpoints').not.to.equal('allowed');
    await relabel(fresh.name, 'server');
    await t.step('the flow reaches the first endpoint', async () => reaches(t, client, other, [fresh.name]));
  },
);

export const sameNode = defineCase(
  {
    id: 'services.traffic-distribution.same-node',
    area: 'services',
    title: 'trafficDistribution PreferSameNode keeps clients on their node while it has endpoints',
    description:
      'With endpoints on two nodes, all connections of a client MUST be answered by the one on the client’s node; when that has left, by the other. Skipped where the server does not know PreferSameNode (before 1.35).',
    requirements: ['003 Services'],
    modes: ['network'],
    needs: ['two-nodes'],
  },
  async (t) => {
    const [first = '', second = ''] = t.cluster.workers;
    const namespace = await t.namespace();
    const [client] = await t.probes.pods([
      { namespace, name: 'client', node: first },
      { namespace, name: 'near', node: first, labels: { role: 'server' } },
      { namespace, name: 'far', node: second, labels: { role: 'server' } },
    ]);
    if (client === undefined) throw new RangeError('no client was started');
    const service = await expose(t, namespace, { trafficDistribution: 'PreferSameNode' }).catch((error: unknown) => {
      const { code, body } = error as { code?: unknown; body?: unknown };
      if (code === 422) t.skip(`the server refuses trafficDistribution PreferSameNode: ${String(body).slice(0, 200)}`);
      throw error;
    });
    const request = { protocol: 'tcp', host: addressOf(service), port: 80, timeoutMs: 1_000 } as const;
    const allFrom = (wanted: string) =>
      t.waitFor(`30 connections in a row to be answered by the pod ${wanted}`, async () => {
        const results = await client.attempts(Array.from({ length: 30 }, () => request));
        const wrong = results.find(({ server }) => server?.hostname !== wanted);
        return wrong === undefined ? done(undefined) : pending(`${wrong.outcome} ${wrong.server?.hostname ?? ''}`);
      });
    await allFrom('near');
    await t.kube.core.deleteNamespacedPod({ name: 'near', namespace });
    await allFrom('far');
  },
);

export const affinityTimeout = defineCase(
  {
    id: 'services.session-affinity.timeout',
    area: 'services',
    title: 'Session affinity ends with its time-out',
    description:
      'With sessionAffinity ClientIP and a time-out of 3 s, connections in quick succession MUST stay with one endpoint, and a client that pauses for longer MUST be given another one sooner or later.',
    requirements: ['000 §12', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 4);
    const host = addressOf(
      await expose(t, namespace, {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 3 } },
      }),
    );
    const request = { protocol: 'tcp', host, port: 80 } as const;
    const first = (await reaches(t, client, request, namesOf(servers))).server?.hostname;
    const quick = await client.attempts(
      Array.from({ length: 20 }, () => request),
      { concurrency: 1 },
    );
    expect(new Set(quick.map(({ server }) => server?.hostname))).to.deep.equal(new Set([first]));
    // One in four goes back to the same endpoint by chance; that many times in a row, one in 68 billion.
    await t.waitFor(
      'the client to be given another endpoint after a pause',
      async () => {
        const { outcome, server } = await client.attempt(request);
        return outcome === 'allowed' && server?.hostname !== first
          ? done(undefined)
          : pending(`${outcome} ${server?.hostname ?? ''}`);
      },
      { timeoutMs: 90_000, intervalMs: 5_000 },
    );
  },
);

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { eventually, expectOutcome, reaches } from '../attempts.ts';
import { defineCase, done, pending } from '../case.ts';
import { addressOf, expose, namesOf, startBackends } from './fixture.ts';

export const fromPod = defineCase(
  {
    id: 'services.cluster-ip.from-pod',
    area: 'services',
    title: 'A ClusterIP answers to a pod',
    description: 'A pod MUST reach a ready endpoint on another node through the Service’s cluster address and port.',
    requirements: ['000 §16', '001 §8', '003 Services'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    const service = await expose(t, namespace);
    const answer = await reaches(t, client, { protocol: 'http', host: addressOf(service), port: 80 }, namesOf(servers));
    expect(answer.server?.clientAddress, 'the source address that the endpoint sees').to.equal(client.ip);
  },
);

export const fromNode = defineCase(
  {
    id: 'services.cluster-ip.from-node',
    area: 'services',
    title: 'A ClusterIP answers to a process of the node itself',
    description: 'Every node MUST reach a Service’s cluster address from its host network.',
    requirements: ['000 §12', '001 §8'],
    modes: ['network'],
    needs: ['node-probe'],
  },
  async (t) => {
    const { namespace, servers } = await startBackends(t, 2);
    const service = await expose(t, namespace);
    for (const node of t.cluster.workers.slice(0, 2)) {
      const probe = await t.probes.node(node);
      await reaches(t, probe, { protocol: 'tcp', host: addressOf(service), port: 80 }, namesOf(servers));
    }
  },
);

export const everyEndpoint = defineCase(
  {
    id: 'services.cluster-ip.every-endpoint',
    area: 'services',
    title: 'A ClusterIP uses every ready endpoint',
    description: 'Among many connections from one client, each of four ready endpoints MUST answer some, on any node.',
    requirements: ['000 §12', '001 §8', '002 kube-proxy'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 4);
    const host = addressOf(await expose(t, namespace));
    await t.waitFor('all four endpoints to have answered', async () => {
      const results = await client.attempts(
        Array.from({ length: 40 }, () => ({ protocol: 'tcp' as const, host, port: 80, timeoutMs: 1_000 })),
      );
      const seen = new Set(results.map(({ server }) => server?.hostname));
      const missing = namesOf(servers).filter((name) => !seen.has(name));
      return missing.length === 0 ? done(undefined) : pending(`no answer from ${missing.join(', ')} in 40 connections`);
    });
  },
);

export const udp = defineCase(
  {
    id: 'services.cluster-ip.udp',
    area: 'services',
    title: 'A UDP Service answers, also beside TCP on the same port',
    description: 'A Service with the same port over TCP and UDP MUST lead each protocol to its own target port.',
    requirements: ['000 §16', '001 §8'],
    modes: ['network'],
  },
  async (t) => {
    const listen = [
      { protocol: 'tcp', port: 8080 },
      { protocol: 'udp', port: 9090 },
    ] as const;
    const { namespace, servers, client } = await startBackends(t, 1, { listen });
    const host = addressOf(
      await expose(t, namespace, {
        ports: [
          { name: 'stream', protocol: 'TCP', port: 53, targetPort: 8080 },
          { name: 'datagram', protocol: 'UDP', port: 53, targetPort: 9090 },
        ],
      }),
    );
    await reaches(t, client, { protocol: 'udp', host, port: 53 }, namesOf(servers));
    await reaches(t, client, { protocol: 'tcp', host, port: 53 }, namesOf(servers));
  },
);

export const namedTargetPort = defineCase(
  {
    id: 'services.target-port.named',
    area: 'services',
    title: 'A named target port is looked up on each pod',
    description:
      'Two pods that give the same name to different ports MUST both be reached through a Service with that name as target port.',
    requirements: ['001 §8', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    await t.probes.pods(
      [8080, 8081].map((port) => ({
        namespace,
        name: `server-${port}`,
        labels: { role: 'server' },
        listen: [{ protocol: 'tcp' as const, port }],
        portNames: { web: `tcp/${port}` as const },
      })),
    );
    const service = await expose(t, namespace, { ports: [{ port: 80, targetPort: 'web' }] });
    for (const server of ['server-8080', 'server-8081']) {
      await reaches(t, client, { protocol: 'tcp', host: addressOf(service), port: 80 }, [server]);
    }
  },
);

export const noEndpoints = defineCase(
  {
    id: 'services.no-endpoints.rejects',
    area: 'services',
    title: 'A Service without endpoints refuses at once',
    description:
      'A connection to a Service without ready endpoints MUST be refused rather than left without an answer.',
    requirements: ['000 §12', '002 kube-proxy'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 0);
    // Ports that a Service does not have are another matter: by iptables kube-proxy leaves them alone.
    const ports = ['TCP', 'UDP'].map((protocol) => ({
      name: protocol.toLowerCase(),
      protocol,
      port: 80,
      targetPort: 8080,
    }));
    const host = addressOf(await expose(t, namespace, { ports }));
    for (const protocol of ['tcp', 'udp'] as const) {
      await eventually(
        t,
        client,
        { protocol, host, port: 80 },
        {
          what: `a ${protocol} attempt at a Service without endpoints to be refused`,
          until: ({ outcome }) => outcome === 'refused' || outcome === 'rejected',
        },
      );
    }
  },
);

export const endpointRemoval = defineCase(
  {
    id: 'services.endpoints.removal',
    area: 'services',
    title: 'No connection goes to an endpoint that has left',
    description: 'After one of two endpoints is deleted, new connections MUST all be answered by the other, and soon.',
    requirements: ['000 §12', '001 §8'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 2);
    const host = addressOf(await expose(t, namespace));
    const [gone, stays] = namesOf(servers);
    await reaches(t, client, { protocol: 'tcp', host, port: 80 }, [gone ?? '']);
    await t.kube.core.deleteNamespacedPod({ name: gone ?? '', namespace });
    const began = performance.now();
    await t.waitFor('40 connections in a row to be answered by the endpoint that stays', async () => {
      const results = await client.attempts(
        Array.from({ length: 40 }, () => ({ protocol: 'tcp' as const, host, port: 80, timeoutMs: 1_000 })),
      );
      const wrong = results.find(({ outcome, server }) => outcome !== 'allowed' || server?.hostname !== stays);
      return wrong === undefined
        ? done(undefined)
        : pending(`${wrong.outcome} ${wrong.server?.hostname ?? wrong.error ?? ''}`);
    });
    t.measure({ name: 'time-to-leave', value: Math.round(performance.now() - began), unit: 'ms' });
  },
);

export const readiness = defineCase(
  {
    id: 'services.endpoints.readiness',
    area: 'services',
    title: 'A pod takes traffic only while it is ready',
    description: 'A pod whose readiness probe fails MUST NOT get connections of the Service; once it succeeds it MUST.',
    requirements: ['000 §2', '001 §3', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const readinessProbe = { exec: { command: ['/bin/busybox', 'test', '-e', '/tmp/ready'] }, periodSeconds: 1 };
    const { namespace, servers, client } = await startBackends(t, 1, { container: { readinessProbe } });
    const host = addressOf(await expose(t, namespace));
    const request = { protocol: 'tcp', host, port: 80 } as const;
    const refused = { until: ({ outcome }: { outcome: string }) => outcome === 'refused' || outcome === 'rejected' };
    await eventually(t, client, request, { ...refused, what: 'the Service of an unready pod to refuse' });
    await servers[0]?.exec(['/bin/busybox', 'touch', '/tmp/ready']);
    await reaches(t, client, request, namesOf(servers));
    await servers[0]?.exec(['/bin/busybox', 'rm', '/tmp/ready']);
    await eventually(t, client, request, { ...refused, what: 'the Service to refuse again', timeoutMs: 20_000 });
  },
);

export const hairpin = defineCase(
  {
    id: 'services.cluster-ip.hairpin',
    area: 'services',
    title: 'A pod reaches itself through its own Service',
    description: 'The only endpoint of a Service MUST be able to connect to the Service and be answered by itself.',
    requirements: ['000 §12', '001 §9'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers } = await startBackends(t, 1);
    const host = addressOf(await expose(t, namespace));
    const [self] = servers;
    if (self === undefined) throw new RangeError('no server was started');
    await reaches(t, self, { protocol: 'tcp', host, port: 80 }, [self.name]);
    await reaches(t, self, { protocol: 'udp', host: self.ip, port: 8080 }, [self.name]);
  },
);

export const sessionAffinity = defineCase(
  {
    id: 'services.session-affinity.client-ip',
    area: 'services',
    title: 'Session affinity keeps a client on one endpoint',
    description:
      'With sessionAffinity ClientIP all connections of one client MUST go to one endpoint; without, to several.',
    requirements: ['000 §12', '001 §8', '002 kube-proxy'],
    modes: ['quick', 'network'],
  },
  async (t) => {
    const { namespace, client } = await startBackends(t, 3);
    const host = addressOf(await expose(t, namespace, { sessionAffinity: 'ClientIP' }));
    const first = await reaches(t, client, { protocol: 'tcp', host, port: 80 });
    // The rules of the three endpoints may still be coming in; a session that was begun before must not move for that.
    const results = await client.attempts(
      Array.from({ length: 30 }, () => ({ protocol: 'tcp' as const, host, port: 80 })),
      { concurrency: 1 },
    );
    const others = results.filter(({ server }) => server?.hostname !== first.server?.hostname);
    expect(others.length, 'connections that went to another endpoint, of 30').to.equal(0);
    await t.kube.core.patchNamespacedService({
      name: 'web',
      namespace,
      body: [{ op: 'replace', path: '/spec/sessionAffinity', value: 'None' }],
    });
    await t.waitFor('connections without affinity to reach several endpoints', async () => {
      const more = await client.attempts(
        Array.from({ length: 30 }, () => ({ protocol: 'tcp' as const, host, port: 80 })),
      );
      const seen = new Set(more.map(({ server }) => server?.hostname));
      return seen.size > 1 ? done(undefined) : pending(`only ${[...seen].join(', ')}`);
    });
  },
);

export const withoutSelector = defineCase(
  {
    id: 'services.selectorless.endpoint-slice',
    area: 'services',
    title: 'A Service without selector uses the EndpointSlice that somebody writes',
    description: 'Addresses of an EndpointSlice labelled with the Service’s name MUST be used, and no others.',
    requirements: ['003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 2);
    const service = await t.kube.core.createNamespacedService({
      namespace,
      body: { metadata: { name: 'web' }, spec: { ports: [{ name: 'web', port: 80, targetPort: 8080 }] } },
    });
    const [used] = servers;
    await t.kube.discovery.createNamespacedEndpointSlice({
      namespace,
      body: {
        metadata: { name: 'web-by-hand', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        ports: [{ name: 'web', port: 8080, protocol: 'TCP' }],
        endpoints: [{ addresses: [used?.ip ?? ''], conditions: { ready: true } }],
      },
    });
    const request = { protocol: 'tcp', host: addressOf(service), port: 80 } as const;
    await reaches(t, client, request, [used?.name ?? '']);
    for (const result of await client.attempts(Array.from({ length: 10 }, () => request))) {
      expectOutcome(result, 'allowed', 'a connection to the Service');
      expect(result.server?.hostname).to.equal(used?.name);
    }
  },
);

export const headless = defineCase(
  {
    id: 'services.headless.by-name',
    area: 'services',
    title: 'A headless Service is reached by name, at its pods directly',
    description:
      'A Service with clusterIP None MUST have no address of its own, and connections to its name MUST be answered by its pods on the target port.',
    requirements: ['000 §12', '003 Services'],
    modes: ['network'],
    needs: ['cluster-dns'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 2);
    const service = await expose(t, namespace, { clusterIP: 'None' });
    expect(service.spec?.clusterIP).to.equal('None');
    const host = `web.${namespace}.svc.${t.cluster.clusterDomain}`;
    const answer = await reaches(t, client, { protocol: 'tcp', host, port: 8080 }, namesOf(servers));
    expect(servers.map(({ ip }) => ip)).to.include(answer.address);
  },
);

export const environment = defineCase(
  {
    id: 'services.environment-variables',
    area: 'services',
    title: 'A container finds the Services of its namespace in its environment',
    description:
      'A container started after a Service MUST have its SERVICE_HOST and SERVICE_PORT variables, and none with enableServiceLinks false.',
    requirements: ['000 §2', '003 Services'],
    modes: ['network'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const service = await expose(t, namespace, {}, 'my-web');
    const [linked, plain] = await t.probes.pods([
      { namespace, name: 'linked' },
      { namespace, name: 'plain', spec: { enableServiceLinks: false } },
    ]);
    // The kubelet may learn of a brand-new Service a moment after the pod; then the variable is missing by right.
    const variables = (await linked?.exec(['/bin/busybox', 'env']))?.stdout.toString() ?? '';
    expect(variables).to.contain(`MY_WEB_SERVICE_HOST=${addressOf(service)}`);
    expect(variables).to.contain('MY_WEB_SERVICE_PORT=80');
    expect(variables).to.contain('MY_WEB_SERVICE_PORT_WEB=80');
    expect(variables).to.contain(`MY_WEB_PORT_80_TCP_ADDR=${addressOf(service)}`);
    const without = (await plain?.exec(['/bin/busybox', 'env']))?.stdout.toString() ?? '';
    expect(without).not.to.contain('MY_WEB');
    expect(without).to.contain('KUBERNETES_SERVICE_HOST=');
  },
);

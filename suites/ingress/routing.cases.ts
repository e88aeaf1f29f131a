// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { defineCase, done, pending } from '../case.ts';
import { addressOf, answeredBy, backend, classToAsk, createIngress, startSite } from './fixture.ts';

const needs = ['ingress-controller'] as const;

export const hosts = defineCase(
  {
    id: 'ingress.hosts',
    area: 'ingress',
    title: 'An Ingress leads hosts to their Services, wildcards by one label',
    description:
      'A request MUST reach the Service of the rule with its host; a rule for *.NAME MUST hold for names one label longer, and not where a rule has the very name. A host of no rule MUST NOT reach any of them.',
    requirements: ['001 §8', '003 Ingress'],
    modes: ['network'],
    needs,
    locks: ['ingress-default-backend'],
  },
  async (t) => {
    const site = await startSite(t, ['one', 'two', 'wild']);
    const { domain } = site;
    const rule = (host: string, name: string) => ({
      host,
      http: { paths: [{ path: '/', pathType: 'Prefix', backend: backend(name) }] },
    });
    await createIngress(t, site, {
      rules: [rule(`one.${domain}`, 'one'), rule(`two.${domain}`, 'two'), rule(`*.${domain}`, 'wild')],
    });
    const address = await addressOf(t, site);
    for (const [host, by] of [
      [`one.${domain}`, 'one'],
      [`two.${domain}`, 'two'],
      [`other.${domain}`, 'wild'],
      [`a.b.${domain}`, 'nobody'],
      [domain, 'nobody'],
    ] as const) {
      await answeredBy(t, site, { address, host, by });
    }
  },
);

export const paths = defineCase(
  {
    id: 'ingress.paths',
    area: 'ingress',
    title: 'An Ingress takes the exact path before the longest prefix of whole elements',
    description:
      'Of the rules of a host an Exact path MUST win for itself alone, otherwise the longest Prefix that consists of whole elements of the request’s path; a trailing slash of a Prefix makes no difference.',
    requirements: ['001 §8', '003 Ingress'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const site = await startSite(t, ['root', 'foo', 'exact', 'deep']);
    const host = site.domain;
    const path = (text: string, pathType: string, name: string) => ({ path: text, pathType, backend: backend(name) });
    await createIngress(t, site, {
      rules: [
        {
          host,
          http: {
            paths: [
              path('/', 'Prefix', 'root'),
              path('/foo', 'Prefix', 'foo'),
              path('/foo/exact', 'Exact', 'exact'),
              path('/foo/deep/', 'Prefix', 'deep'),
            ],
          },
        },
      ],
    });
    const address = await addressOf(t, site);
    for (const [path, by] of [
      ['/', 'root'],
      ['/foo', 'foo'],
      ['/foo/', 'foo'],
      ['/foobar', 'root'],
      ['/foo/exact', 'exact'],
      ['/foo/exact/more', 'foo'],
      ['/foo/deep', 'deep'],
      ['/foo/deep/er', 'deep'],
      ['/foo/deeper', 'foo'],
    ] as const) {
      await answeredBy(t, site, { address, host, path, by });
    }
  },
);

export const namedPort = defineCase(
  {
    id: 'ingress.named-port',
    area: 'ingress',
    title: 'An Ingress finds the port of its Service by name',
    description: 'A backend that names a port of its Service MUST lead to the endpoints of that port.',
    requirements: ['003 Ingress'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const site = await startSite(t, ['named']);
    const paths = [{ path: '/', pathType: 'Prefix', backend: backend('named', { name: 'web' }) }];
    await createIngress(t, site, { rules: [{ host: site.domain, http: { paths } }] });
    await answeredBy(t, site, { address: await addressOf(t, site), host: site.domain, by: 'named' });
  },
);

export const defaultBackend = defineCase(
  {
    id: 'ingress.default-backend',
    area: 'ingress',
    title: 'A default backend answers what no rule has',
    description:
      'An Ingress without rules MUST lead every request that no other rule matches to its default backend, and stop when it is deleted.',
    requirements: ['003 Ingress'],
    modes: ['network'],
    needs,
    locks: ['ingress-default-backend'],
  },
  async (t) => {
    const site = await startSite(t, ['fallback']);
    await createIngress(t, site, { defaultBackend: backend('fallback') });
    const address = await addressOf(t, site);
    const host = `nobody.${site.domain}`;
    await answeredBy(t, site, { address, host, path: '/any', by: 'fallback' });
    await t.kube.networking.deleteNamespacedIngress({ name: 'site', namespace: site.namespace });
    await answeredBy(t, site, { address, host, path: '/any', by: 'nobody' });
  },
);

export const classes = defineCase(
  {
    id: 'ingress.class',
    area: 'ingress',
    title: 'A controller serves Ingresses of its own classes only',
    description:
      'An Ingress of a class of another controller MUST NOT be served, while one of the controller’s class beside it is. Where a class is the default one, an Ingress without a class MUST be given it.',
    requirements: ['003 Ingress'],
    modes: ['network'],
    needs,
    locks: ['ingress-default-backend'],
  },
  async (t) => {
    const site = await startSite(t, ['mine', 'theirs']);
    const foreign = `plumb-${t.runId}`.toLowerCase();
    await t.apply({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'IngressClass',
      metadata: { name: foreign },
      spec: { controller: 'example.com/nobody' },
    });
    const rule = (host: string, name: string) => [
      { host, http: { paths: [{ path: '/', pathType: 'Prefix', backend: backend(name) }] } },
    ];
    const their = { ingressClassName: foreign, rules: rule(`theirs.${site.domain}`, 'theirs') };
    await createIngress(t, site, their, 'theirs');
    await createIngress(t, site, { rules: rule(`mine.${site.domain}`, 'mine') });
    const address = await addressOf(t, site);
    // The later one is served: by then the earlier one has been looked at.
    await answeredBy(t, site, { address, host: `mine.${site.domain}`, by: 'mine' });
    await answeredBy(t, site, { address, host: `theirs.${site.domain}`, by: 'nobody' });
    const { items } = await t.kube.networking.listIngressClass();
    if (
      !items.some(({ metadata }) => metadata?.annotations?.['ingressclass.kubernetes.io/is-default-class'] === 'true')
    )
      return;
    const bare = await t.kube.networking.createNamespacedIngress({
      namespace: site.namespace,
      body: { metadata: { name: 'bare' }, spec: { rules: rule(`bare.${site.domain}`, 'mine') } },
    });
    expect(bare.spec?.ingressClassName, 'the class of an Ingress that names none').to.equal(await classToAsk(t));
    await answeredBy(t, site, { address, host: `bare.${site.domain}`, by: 'mine' });
  },
);

export const endpoints = defineCase(
  {
    id: 'ingress.endpoints',
    area: 'ingress',
    title: 'No request is lost while endpoints come and go',
    description:
      'While one of two pods leaves its Service and comes back, again and again, every request through the Ingress MUST be answered by one of them; and a request after it has left MUST NOT reach the one that left.',
    requirements: ['001 §8', '003 Ingress'],
    modes: ['network'],
    needs,
  },
  async (t) => {
    const site = await startSite(t, ['web']);
    const { namespace, client, domain: host } = site;
    const second = await t.probes.pod({
      namespace,
      name: 'second',
      node: t.cluster.workers.at(-1) ?? '',
      labels: { role: 'web' },
    });
    await createIngress(t, site, {
      rules: [{ host, http: { paths: [{ path: '/', pathType: 'Prefix', backend: backend('web') }] } }],
    });
    const address = await addressOf(t, site);
    await answeredBy(t, site, { address, host, by: second.name });
    const label = (role: string): Promise<unknown> =>
      t.kube.core.patchNamespacedPod({
        name: second.name,
        namespace,
        body: [{ op: 'replace', path: '/metadata/labels/role', value: role }],
      });
    const visits = async (): Promise<string[]> => {
      const request = { protocol: 'http', host: address, port: 80, hostHeader: host, timeoutMs: 5_000 } as const;
      const results = await client.attempts(Array.from({ length: 10 }, () => request));
      return results.map((one) => one.server?.hostname ?? `${one.outcome} ${one.http?.status ?? one.error ?? ''}`);
    };
    const seen = new Set<string>();
    for (const role of ['away', 'web', 'away', 'web', 'away']) {
      await label(role);
      await t.waitFor(`answers from ${role === 'web' ? 'both pods' : 'web alone'}`, async () => {
        const names = await visits();
        for (const name of names) seen.add(name);
        const both = names.includes('web') && names.includes(second.name);
        const settled = role === 'web' ? both : names.every((name) => name === 'web');
        return settled ? done(undefined) : pending(names.join(', '));
      });
    }
    expect([...seen].toSorted(), 'who or what answered').to.deep.equal(['second', 'web']);
  },
);

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { routesOf, unavailableBackend, type IngressObjects } from './routes.ts';
import { proxyFiles } from './haproxy-config.ts';
import type { EndpointSlice, Ingress, IngressSpec, Secret, Service, ServiceSpec } from '../machinery/api-types.ts';

const controller = 'example.com/ours';

describe('routes of Ingresses', () => {
  it('are those of Ingresses of our classes, by field or by annotation', () => {
    const rule = { rules: [{ http: { paths: [path('/', 'web')] } }] };
    const other = { ...ingress('other', rule), spec: { ...rule, ingressClassName: 'theirs' } };
    const old = {
      metadata: { ...other.metadata, name: 'old', annotations: { 'kubernetes.io/ingress.class': 'ours' } },
      spec: rule,
    };
    const none = { metadata: { ...other.metadata, name: 'none' }, spec: rule };
    expect(of([other, none]).served).to.deep.equal([]);
    expect(of([other, old]).served.map(({ metadata }) => metadata.name)).to.deep.equal(['old']);
  });

  it('lead to the endpoints of the port, named or numbered: ready ones, or those that end while they serve', () => {
    const named = ingress('named', {
      rules: [{ http: { paths: [path('/', 'web', { name: 'http' }), path('/n', 'web', { number: 81 })] } }],
    });
    expect([...of([named]).backends]).to.deep.equal([
      ['x_web_80', ['10.0.0.1:8080', '10.0.0.2:8080']],
      ['x_web_81', ['10.0.0.9:8081']],
    ]);
  });

  it('name the field of what an Ingress asks for in vain, and answer 503 there', () => {
    const bad = ingress('bad', {
      defaultBackend: { resource: { kind: 'Bucket', name: 'b' } },
      tls: [{ secretName: 'none' }, { secretName: 'broken' }],
      rules: [
        {
          host: 'a.example',
          http: { paths: [path('/', 'gone'), path('/p', 'web', { name: 'no' }), path('/x', 'alias')] },
        },
        { host: 'a.example', http: { paths: [path('/', 'web')] } },
      ],
    });
    const routes = of([bad]);
    expect(routes.problems.map(({ message }) => message)).to.deep.equal([
      'spec.rules[0].http.paths[0].backend.service.name: the namespace x has no Service "gone"',
      'spec.rules[0].http.paths[1].backend.service.port: the Service "web" has no TCP port "no"',
      'spec.rules[0].http.paths[2].backend.service.name: the Service "alias" is an ExternalName and has no endpoints',
      'spec.rules[1].http.paths[0].path: Prefix / of host a.example belongs to the older Ingress x/bad',
      'spec.defaultBackend.resource: only Services can be backends here',
      'spec.tls[0].secretName: there is no kubernetes.io/tls Secret "none"; the default certificate is shown',
      'spec.tls[1].secretName: tls.crt of the Secret "broken" is no PEM certificate; the default certificate is shown',
    ]);
    expect(routes.paths.map(({ backend }) => backend)).to.deep.equal(Array(3).fill(unavailableBackend));
  });

  it('belong to the older of two Ingresses', () => {
    const rule: IngressSpec = { rules: [{ http: { paths: [path('/', 'web')] } }] };
    const [young, old] = [ingress('a', rule, '2026-01-02T00:00:00Z'), ingress('b', rule, '2026-01-01T00:00:00Z')];
    const { problems } = of([young, old]);
    expect(problems.map(({ ingress, message }) => `${ingress.metadata.name} ${message}`)).to.deep.equal([
      'a spec.rules[0].http.paths[0].path: Prefix / of every host belongs to the older Ingress x/b',
    ]);
  });

  it('become maps of hosts and paths', () => {
    const rules = [
      {
        host: '*.b.example',
        http: { paths: [{ ...path('/e', 'web'), pathType: 'Exact' as const }, path('/p/', 'web')] },
      },
      { http: { paths: [path('', 'web')] } },
    ];
    const routes = of([ingress('one', { rules, defaultBackend: { service: { name: 'web', port: { number: 80 } } } })]);
    const options = {
      directory: '/d',
      httpPort: 80,
      httpsPort: 443,
      ipv6: false,
      output: 'ignore',
      defaultCertificate: () => '',
    } as const;
    const files = proxyFiles(routes, options);
    expect(files.get('exact.map')).to.equal('*.b.example/e x_web_80\n');
    expect(files.get('prefix.map')).to.equal('*.b.example/p/ x_web_80\n/ x_web_80\n');
    expect(files.get('default.map')).to.equal('*.b.example x_web_80\n');
  });
});

function of(ingresses: readonly Ingress[]): ReturnType<typeof routesOf> {
  const service = (name: string, spec: ServiceSpec): Service => ({ metadata: { namespace: 'x', name }, spec });
  const services = [
    service('web', {
      ports: [
        { name: 'http', port: 80 },
        { name: 'admin', port: 81 },
      ],
    }),
    service('alias', { type: 'ExternalName', externalName: 'example.com' }),
  ];
  const slices: EndpointSlice[] = [
    slice('http', 8080, [
      ['10.0.0.2', true],
      ['10.0.0.3', false],
    ]),
    slice('http', 8080, [['10.0.0.1', true]]),
    {
      ...slice('admin', 8081, []),
      endpoints: [{ addresses: ['10.0.0.9'], conditions: { ready: false, serving: true, terminating: true } }],
    },
    { ...slice('http', 8080, [['fd00::1', true]]), addressType: 'IPv6' },
  ];
  const broken: Secret = {
    metadata: { namespace: 'x', name: 'broken' },
    data: { 'tls.crt': 'eA==', 'tls.key': 'eA==' },
  };
  const objects: IngressObjects = {
    ingresses,
    classes: [
      { metadata: { name: 'ours' }, spec: { controller } },
      { metadata: { name: 'theirs' }, spec: { controller: 'example.com/theirs' } },
    ],
    service: (_, name) => services.find(({ metadata }) => metadata.name === name),
    slices: (_, name) => (name === 'web' ? slices : []),
    secret: (_, name) => (name === 'broken' ? broken : undefined),
  };
  return routesOf(objects, controller);
}

function ingress(name: string, spec: IngressSpec, creationTimestamp = '2026-01-01T00:00:00Z'): Ingress {
  return { metadata: { namespace: 'x', name, creationTimestamp }, spec: { ingressClassName: 'ours', ...spec } };
}

function path(text: string, service: string, port: { name?: string; number?: number } = { number: 80 }) {
  return { path: text, pathType: 'Prefix' as const, backend: { service: { name: service, port } } };
}

function slice(name: string, port: number, endpoints: readonly (readonly [string, boolean])[]): EndpointSlice {
  return {
    metadata: {},
    addressType: 'IPv4',
    endpoints: endpoints.map(([address, ready]) => ({ addresses: [address], conditions: { ready } })),
    ports: [{ name, port }],
  };
}

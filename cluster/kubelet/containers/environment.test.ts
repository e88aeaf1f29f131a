// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { Container, Pod, Service } from '../../machinery/api-types.ts';
import { expand, makeEnvironment } from './environment.ts';

const pod: Pod = {
  metadata: { name: 'p', namespace: 'n', uid: 'u', labels: { app: 'web' } },
  spec: { containers: [], nodeName: 'node', serviceAccountName: 'sa' },
};
const service = (name: string, namespace: string, more: object): Service => ({
  metadata: { name, namespace },
  spec: { clusterIP: '10.96.0.9', ...more },
});

function environment(
  container: Partial<Container>,
  more: { services?: Service[]; pod?: Pod } = {},
): Record<string, string> {
  const configMaps: Record<string, Record<string, Buffer>> = { cm: { k: Buffer.from('v'), l: Buffer.from('w') } };
  return Object.fromEntries(
    makeEnvironment({
      pod: more.pod ?? pod,
      podIPs: ['10.0.0.1', 'fd00::1'],
      hostIPs: ['192.0.2.1'],
      allocatable: { cpu: 4000, memory: 2 ** 30 },
      container: { name: 'c', ...container },
      services: more.services ?? [],
      configMap: (name) => configMaps[name],
      secret: (name) => (name === 's' ? { pw: Buffer.from('x') } : undefined),
    }),
  );
}

describe("a container's environment", () => {
  it('expands references to what comes before, keeps the others, and unescapes $$', () => {
    const env = [
      { name: 'A', value: '1' },
      { name: 'B', value: '$(A)-$(C)-$$(A)' },
      { name: 'C', value: '3' },
    ];
    expect(environment({ env })).to.include({ B: '1-$(C)-$(A)' });
  });

  it('lets env win over envFrom, and prefixes', () => {
    const envFrom = [
      { configMapRef: { name: 'cm' }, prefix: 'P_' },
      { configMapRef: { name: 'cm' } },
      { secretRef: { name: 's' } },
    ];
    const result = environment({ envFrom, env: [{ name: 'k', value: 'own' }] });
    expect(result).to.include({ P_k: 'v', k: 'own', l: 'w', pw: 'x' });
  });

  it('reads fields and resources, limits falling back to the node', () => {
    const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
    const resource = (name: string, text: string, divisor?: string) => ({
      name,
      valueFrom: { resourceFieldRef: { resource: text, ...(divisor && { divisor }) } },
    });
    const env = [
      field('IPS', 'status.podIPs'),
      field('L', "metadata.labels['app']"),
      field('H', 'status.hostIP'),
      resource('CPU', 'limits.cpu'),
      resource('MILLI', 'limits.cpu', '1m'),
      resource('REQ', 'requests.cpu'),
      resource('MEM', 'limits.memory', '1Mi'),
    ];
    const result = environment({ env, resources: { limits: { cpu: '1500m' } } });
    expect(result).to.include({
      IPS: '10.0.0.1,fd00::1',
      L: 'web',
      H: '192.0.2.1',
      CPU: '2',
      MILLI: '1500',
      REQ: '0',
      MEM: '1024',
    });
  });

  it('says which object or key is missing, unless it is optional', () => {
    const key = (name: string, key: string, optional = false) => [
      { name: 'X', valueFrom: { configMapKeyRef: { name, key, optional } } },
    ];
    expect(() => environment({ env: key('nope', 'k') })).to.throw('configmap "nope" not found');
    expect(() => environment({ env: key('cm', 'nope') })).to.throw("couldn't find key nope in ConfigMap n/cm");
    expect(environment({ env: key('nope', 'k', true) })).not.to.have.property('X');
  });

  it('has variables for services of the namespace and for kubernetes, headless ones left out', () => {
    const services = [
      service('my-db', 'n', {
        ports: [
          { name: 'sql-x', port: 5432 },
          { port: 53, protocol: 'UDP' },
        ],
      }),
      service('headless', 'n', { clusterIP: 'None', ports: [{ port: 1 }] }),
      service('kubernetes', 'default', { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] }),
    ];
    const result = environment({}, { services });
    expect(result).to.include({
      MY_DB_SERVICE_HOST: '10.96.0.9',
      MY_DB_SERVICE_PORT: '5432',
      MY_DB_SERVICE_PORT_SQL_X: '5432',
      MY_DB_PORT_53_UDP: 'udp://10.96.0.9:53',
      MY_DB_PORT_5432_TCP_ADDR: '10.96.0.9',
      KUBERNETES_SERVICE_PORT_HTTPS: '443',
    });
    expect(Object.keys(result).filter((name) => name.startsWith('HEADLESS'))).to.deep.equal([]);
    const unlinked = { ...pod, spec: { ...pod.spec, containers: [], enableServiceLinks: false } };
    expect(
      Object.keys(environment({}, { services, pod: unlinked })).every((name) => name.startsWith('KUBERNETES')),
    ).to.equal(true);
  });

  it('never fails on any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => typeof expand(text, () => undefined) === 'string'),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('$')),
        (text) => expand(text, () => 'x') === text,
      ),
    );
  });
});

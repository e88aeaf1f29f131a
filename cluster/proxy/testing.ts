// SPDX-License-Identifier: Apache-2.0
// Fixtures for tests of rules: a port of a Service, its endpoints, and random changes of both.
import * as fc from 'fast-check';

import type { RuleOptions } from './rule-writer.ts';
import type { Backend, ServicePort } from './service-model.ts';

/** A node of a cluster of IPv4. */
export const ruleOptions: RuleOptions = {
  node: { name: 'n1', zone: undefined },
  family: 'ip',
  clusterCIDRs: ['10.244.0.0/16'],
  nodeAddresses: ['172.18.0.2'],
  nodePortAddresses: undefined,
};

/** The unnamed TCP port 80 of `default/web` where `facts` say nothing else. */
export function servicePort(facts: Partial<ServicePort> = {}): ServicePort {
  return {
    namespace: 'default',
    name: 'web',
    portName: '',
    protocol: 'tcp',
    port: 80,
    clusterIP: '10.96.0.5',
    nodePort: undefined,
    healthCheckNodePort: undefined,
    externalIPs: [],
    loadBalancerIPs: [],
    loadBalancerSourceRanges: [],
    affinitySeconds: undefined,
    externalLocal: false,
    internalLocal: false,
    ...facts,
  };
}

/** A ready endpoint on another node, port 8080, where `facts` say nothing else. */
export function backend(address: string, facts: Partial<Backend> = {}): Backend {
  const state = { ready: true, serving: true, terminating: false, forZones: [], forNodes: [] };
  return { address, port: 8080, local: false, ...state, ...facts };
}

/** One of three Services gets this port with these endpoints, or goes. Services claim each other's external addresses and node ports. */
export interface RandomChange {
  readonly name: string;
  readonly port: ServicePort;
  readonly backends: readonly Backend[] | undefined;
}

export function randomChanges({ maxEndpoints }: { readonly maxEndpoints: number }): fc.Arbitrary<RandomChange[]> {
  const host = fc.integer({ min: 1, max: 40 });
  const change = fc.record({
    name: fc.constantFrom('a', 'bb', 'ccc'),
    endpoints: fc.option(fc.uniqueArray(host, { maxLength: maxEndpoints }), { nil: undefined }),
    facts: fc.record({
      externalIPs: fc.constantFrom([], ['192.0.2.1'], ['192.0.2.1', '192.0.2.2']),
      loadBalancerIPs: fc.constantFrom([], ['192.0.2.9']),
      loadBalancerSourceRanges: fc.constantFrom([], ['172.18.0.0/16', '198.51.100.0/24']),
      nodePort: fc.constantFrom(undefined, 30080, 30081),
      healthCheckNodePort: fc.constantFrom(undefined, 31000),
      affinitySeconds: fc.constantFrom(undefined, undefined, 60, 90),
      externalLocal: fc.boolean(),
      internalLocal: fc.boolean(),
    }),
  });
  const built = change.map(({ name, endpoints, facts }): RandomChange => ({
    name,
    port: servicePort({ name, clusterIP: `10.96.0.${name.length}`, ...facts }),
    backends: endpoints?.map((number) => backend(`10.244.1.${number}`, { local: number % 2 === 0 })),
  }));
  // At the end all go.
  return fc
    .array(built, { minLength: 1, maxLength: 12 })
    .map((changes) => [...changes, ...changes.map((last) => ({ ...last, backends: undefined }))]);
}

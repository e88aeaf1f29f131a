// SPDX-License-Identifier: Apache-2.0
// Keeps this node's rules of one address family equal to the Services and EndpointSlices of the cluster. Only Services
// that changed are planned again; only the difference reaches the kernel. Which rules those are is the writer's affair.

import { deleteFlows, listFlows, mayLeaveFlows, staleFlows, udpState } from './conntrack.ts';
import { backendsByPort, servicePorts } from './service-model.ts';
import type { EndpointSlice, Service } from '../machinery/api-types.ts';
import type { UdpState } from './conntrack.ts';
import type { PortWithBackends, RuleOptions, RuleWriter, WriteReport } from './rule-writer.ts';
import type { HealthCheck } from './service-health.ts';
import type { Backend } from './service-model.ts';

/** The cluster's state as the informers know it. */
export interface ServiceSource {
  services(): Iterable<Service>;
  service(key: string): Service | undefined;
  /** All slices of the Service `namespace/name`. */
  slices(key: string): readonly EndpointSlice[];
  /** Addresses of this node, as NodePorts are reached. */
  ownAddresses(): Iterable<string>;
}

export interface SyncReport extends WriteReport {
  /** Service ports without a local endpoint although their traffic policy wants one. */
  readonly withoutLocal: WithoutLocal;
}

interface WithoutLocal {
  readonly internal: number;
  readonly external: number;
}

interface ServiceEntry {
  readonly udp: ReadonlyMap<string, UdpState>;
  readonly health: HealthCheck | undefined;
  readonly withoutLocal: WithoutLocal;
}

export interface ProxierOptions {
  readonly source: ServiceSource;
  readonly writer: RuleWriter;
  readonly rules: RuleOptions;
  readonly onConntrackError: (error: unknown) => void;
}

export class Proxier {
  readonly #options: ProxierOptions;
  readonly #entries = new Map<string, ServiceEntry>();
  readonly #health = new Map<string, HealthCheck>();
  /** UDP Service ports whose flows were not looked through since they changed. */
  #udp: { before: UdpState[]; after: UdpState[] } = { before: [], after: [] };
  #withoutLocal = { internal: 0, external: 0 };
  #rules: RuleOptions;

  constructor(options: ProxierOptions) {
    this.#options = options;
    this.#rules = options.rules;
  }

  get family(): 'ip' | 'ip6' {
    return this.#rules.family;
  }

  /** New node facts (zone, addresses); the next sync must plan every Service again. */
  configure(rules: RuleOptions): void {
    this.#rules = rules;
    this.#options.writer.configure(rules);
  }

  /** The next sync writes everything, whatever happened to it in the kernel. */
  distrust(): void {
    this.#options.writer.distrust();
  }

  stillThere(): Promise<boolean> {
    return this.#options.writer.stillThere();
  }

  ruleCounts(): ReadonlyMap<string, number> {
    return this.#options.writer.ruleCounts();
  }

  /** Programs the Services named in `changed` (`namespace/name`), or all of them. */
  async sync(changed: ReadonlySet<string> | 'all'): Promise<SyncReport> {
    const { writer } = this.#options;
    for (const key of changed === 'all' ? this.#allKeys() : changed) {
      const before = this.#entries.get(key);
      const after = this.#plan(key);
      if (before === undefined && after === undefined) continue;
      this.#record(key, before, after?.entry);
      writer.replace(key, after?.ports ?? []);
    }
    const result = await writer.write();
    await this.#forgetStaleFlows();
    return { ...result, withoutLocal: { ...this.#withoutLocal } };
  }

  healthChecks(): Iterable<HealthCheck> {
    return this.#health.values();
  }

  #allKeys(): Set<string> {
    const keys = new Set(this.#entries.keys());
    for (const { metadata } of this.#options.source.services()) keys.add(`${metadata.namespace}/${metadata.name}`);
    return keys;
  }

  #record(key: string, before: ServiceEntry | undefined, after: ServiceEntry | undefined): void {
    if (after === undefined) this.#entries.delete(key);
    else this.#entries.set(key, after);
    if (after?.health === undefined) this.#health.delete(key);
    else this.#health.set(key, after.health);
    for (const policy of ['internal', 'external'] as const) {
      this.#withoutLocal[policy] += (after?.withoutLocal[policy] ?? 0) - (before?.withoutLocal[policy] ?? 0);
    }
    for (const port of new Set([...(before?.udp.keys() ?? []), ...(after?.udp.keys() ?? [])])) {
      const [was, is] = [before?.udp.get(port), after?.udp.get(port)];
      if (!mayLeaveFlows(was, is)) continue;
      if (was !== undefined) this.#udp.before.push(was);
      if (is !== undefined) this.#udp.after.push(is);
    }
  }

  /** After the rules, or a client's next packet would be led to the old endpoint once more. */
  async #forgetStaleFlows(): Promise<void> {
    const changes = this.#udp;
    if (changes.before.length + changes.after.length === 0) return;
    this.#udp = { before: [], after: [] };
    try {
      const own = new Set(this.#options.source.ownAddresses());
      await deleteFlows(staleFlows(await listFlows(this.family), changes, own), this.family);
    } catch (error) {
      this.#options.onConntrackError(error);
    }
  }

  #plan(key: string): { entry: ServiceEntry; ports: PortWithBackends[] } | undefined {
    const { source } = this.#options;
    const { node } = this.#rules;
    const service = source.service(key);
    const family = this.family === 'ip' ? 4 : 6;
    const ports = service === undefined ? [] : servicePorts(service, family);
    const [first] = ports;
    if (service === undefined || first === undefined) return undefined;
    const byPort = backendsByPort(source.slices(key), node, family);
    const udp = new Map<string, UdpState>();
    const withoutLocal = { internal: 0, external: 0 };
    const localAddresses = new Set<string>();
    const planned = ports.map((port): PortWithBackends => {
      const backends: readonly Backend[] = byPort.get(`${port.portName}/${port.protocol}`) ?? [];
      const state = udpState(port, backends);
      if (state !== undefined) udp.set(port.portName, state);
      const local = backends.filter((backend) => backend.local && backend.ready);
      for (const backend of local) localAddresses.add(backend.address);
      if (backends.length > 0 && local.length === 0) {
        if (port.internalLocal) withoutLocal.internal++;
        if (port.externalLocal) withoutLocal.external++;
      }
      return { port, backends };
    });
    const { namespace, name, healthCheckNodePort: port } = first;
    const health =
      port === undefined || !first.externalLocal
        ? undefined
        : { namespace, name, port, localEndpoints: localAddresses.size };
    return { entry: { udp, health, withoutLocal }, ports: planned };
  }
}

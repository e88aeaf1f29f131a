// SPDX-License-Identifier: Apache-2.0
// Keeps this node's rules equal to the Services and EndpointSlices of the cluster. Only Services that changed are
// planned again; only the difference reaches the kernel.

import { LiveTable } from '../network/nft/live-table.ts';
import { deleteFlows, staleFlows, udpState } from './conntrack.ts';
import { planServicePort } from './plan.ts';
import { RuleStore } from './rule-store.ts';
import { backendsByPort, servicePorts } from './service-model.ts';
import type { EndpointSlice, Service } from '../machinery/api-types.ts';
import type { UdpState } from './conntrack.ts';
import type { PlanOptions, ServiceRules } from './plan.ts';
import type { HealthCheck } from './service-health.ts';
import type { Backend } from './service-model.ts';

/** The cluster's state as the informers know it. */
export interface ServiceSource {
  services(): Iterable<Service>;
  service(key: string): Service | undefined;
  /** All slices of the Service `namespace/name`. */
  slices(key: string): readonly EndpointSlice[];
}

export interface SyncReport {
  readonly kind: 'none' | 'difference' | 'whole';
  readonly refused?: string;
  /** Service ports without a local endpoint although their traffic policy wants one. */
  readonly withoutLocal: { readonly internal: number; readonly external: number };
  readonly untidy: boolean;
}

interface ServiceEntry {
  readonly udp: ReadonlyMap<string, UdpState>;
  readonly health: HealthCheck | undefined;
  readonly withoutLocal: { readonly internal: number; readonly external: number };
}

export class Proxier {
  readonly #source: ServiceSource;
  readonly #live = new LiveTable();
  readonly #store = new RuleStore();
  readonly #entries = new Map<string, ServiceEntry>();
  readonly #onConntrackError: (error: Error) => void;
  #options: PlanOptions;

  constructor(source: ServiceSource, options: PlanOptions, onConntrackError: (error: Error) => void) {
    this.#source = source;
    this.#options = options;
    this.#onConntrackError = onConntrackError;
  }

  /** New node facts (zone, addresses); the next sync must plan every Service again. */
  configure(options: PlanOptions): void {
    this.#options = options;
  }

  /** The next sync writes the whole table, whatever happened to it in the kernel. Remembered clients are lost. */
  distrust(): void {
    this.#live.reset();
  }

  /** Programs the Services named in `changed` (`namespace/name`), or all of them. */
  async sync(changed: ReadonlySet<string> | 'all'): Promise<SyncReport> {
    const deletions: string[][] = [];
    const keys = changed === 'all' ? this.#allKeys() : changed;
    for (const key of keys) {
      const before = this.#entries.get(key);
      const after = this.#plan(key);
      if (after === undefined) this.#entries.delete(key);
      else this.#entries.set(key, after.entry);
      this.#store.replace(key, after?.rules ?? []);
      const udp = after?.entry.udp;
      for (const port of new Set([...(before?.udp.keys() ?? []), ...(udp?.keys() ?? [])])) {
        deletions.push(...staleFlows(before?.udp.get(port), udp?.get(port)));
      }
    }
    const { table, former } = this.#store.take(this.#options);
    const result = await this.#live.apply(table, former);
    await deleteFlows(deletions, this.#onConntrackError);
    const withoutLocal = { internal: 0, external: 0 };
    for (const entry of this.#entries.values()) {
      withoutLocal.internal += entry.withoutLocal.internal;
      withoutLocal.external += entry.withoutLocal.external;
    }
    return { ...result, withoutLocal, untidy: this.#live.untidy };
  }

  healthChecks(): HealthCheck[] {
    return [...this.#entries.values()].flatMap(({ health }) => (health === undefined ? [] : [health]));
  }

  #allKeys(): Set<string> {
    const keys = new Set(this.#entries.keys());
    for (const { metadata } of this.#source.services()) keys.add(`${metadata.namespace}/${metadata.name}`);
    return keys;
  }

  #plan(key: string): { entry: ServiceEntry; rules: readonly ServiceRules[] } | undefined {
    const service = this.#source.service(key);
    const family = this.#options.family === 'ip' ? 4 : 6;
    const ports = service === undefined ? [] : servicePorts(service, family);
    if (service === undefined || ports.length === 0) return undefined;
    const backends = backendsByPort(this.#source.slices(key), this.#options.node, family);
    const udp = new Map<string, UdpState>();
    const withoutLocal = { internal: 0, external: 0 };
    const localAddresses = new Set<string>();
    const rules = ports.map((port) => {
      const mine: readonly Backend[] = backends.get(`${port.portName}/${port.protocol}`) ?? [];
      const state = udpState(port, mine);
      if (state !== undefined) udp.set(port.portName, state);
      const local = mine.filter((backend) => backend.local && backend.ready);
      for (const backend of local) localAddresses.add(backend.address);
      if (mine.length > 0 && local.length === 0) {
        if (port.internalLocal) withoutLocal.internal++;
        if (port.externalLocal) withoutLocal.external++;
      }
      return planServicePort(port, mine, this.#options);
    });
    const healthPort = service.spec?.healthCheckNodePort ?? 0;
    const [first] = ports;
    const health =
      healthPort > 0 && first !== undefined && first.externalLocal
        ? { namespace: first.namespace, name: first.name, port: healthPort, localEndpoints: localAddresses.size }
        : undefined;
    return { entry: { udp, health, withoutLocal }, rules };
  }
}

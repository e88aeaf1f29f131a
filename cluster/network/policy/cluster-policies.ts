// SPDX-License-Identifier: Apache-2.0
// The cluster's ClusterNetworkPolicies. Their kind is no part of the API server: it may come and go while the agent runs.

import { Informer } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { clusterNetworkPolicies, type ClusterNetworkPolicy } from './cluster-network-policy.ts';
import type { CustomResourceDefinition } from '../../machinery/api-types.ts';
import type { Client } from '../../machinery/client.ts';

const { group, plural, version } = clusterNetworkPolicies;

export class ClusterPolicies {
  readonly #client: Client;
  readonly #onChange: () => void;
  readonly #definition: Informer<CustomResourceDefinition>;
  #policies: Informer<ClusterNetworkPolicy> | undefined;
  #stop: AbortController | undefined;

  constructor(client: Client, onChange: () => void) {
    this.#client = client;
    this.#onChange = onChange;
    this.#definition = new Informer<CustomResourceDefinition>(client, resources.customResourceDefinitions, {
      fieldSelector: `metadata.name=${plural}.${group}`,
    });
  }

  /** Whether `list` is complete; it is also when the cluster has no such kind. */
  get synced(): boolean {
    return this.#definition.synced && this.#policies?.synced !== false;
  }

  list(): ClusterNetworkPolicy[] {
    return this.#policies?.list() ?? [];
  }

  /** Resolves when `list` is complete for the first time. */
  async start(signal: AbortSignal): Promise<void> {
    this.#definition.onChange(({ type, object }) => this.#follow(type !== 'deleted' && isServed(object), signal));
    await this.#definition.start(signal);
    if (this.#policies !== undefined && this.#stop !== undefined) await this.#policies.start(this.#stop.signal);
    this.#onChange();
  }

  #follow(served: boolean, signal: AbortSignal): void {
    if (served === (this.#policies !== undefined)) return;
    this.#stop?.abort();
    this.#stop = undefined;
    this.#policies = undefined;
    if (!served) return this.#onChange();
    const stop = new AbortController();
    this.#stop = stop;
    const policies = new Informer<ClusterNetworkPolicy>(this.#client, clusterNetworkPolicies);
    this.#policies = policies;
    policies.onChange(({ object, old }) => {
      if (old === undefined || JSON.stringify(old.spec) !== JSON.stringify(object.spec)) this.#onChange();
    });
    // Without any policy there is no change to tell of the end of the first list.
    void policies.start(AbortSignal.any([signal, stop.signal])).then(() => this.#onChange());
  }
}

function isServed({ spec, status }: CustomResourceDefinition): boolean {
  const established = (status?.conditions ?? []).some(
    ({ type, status }) => type === 'Established' && status === 'True',
  );
  return established && spec.versions.some(({ name, served }) => name === version && served);
}

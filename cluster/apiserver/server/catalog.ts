// SPDX-License-Identifier: Apache-2.0
// The resources that are served right now: the built-in ones and those of CustomResourceDefinitions, found by URL or by name.
import type { ResourceDefinition, ResourceVersion } from '../resources/definition.ts';
import { qualified } from '../status.ts';

/** One resource in one served version. */
export interface Served {
  readonly definition: ResourceDefinition;
  readonly version: ResourceVersion;
  /** `pods`, `deployments.apps`. */
  readonly id: string;
  /** The resource whose objects these are; differs from `id` for a definition with `storedAs`. */
  readonly storedAs: string;
  /** `v1`, `apps/v1`. */
  readonly apiVersion: string;
  /** True when stored objects are served as they are. */
  readonly asStored: boolean;
}

export class Catalog {
  readonly #builtIn: readonly ResourceDefinition[];
  #custom: readonly ResourceDefinition[] = [];
  #byPath = new Map<string, Served>();
  #byId = new Map<string, Served>();
  readonly #listeners = new Set<() => void>();
  /** Grows with every change; answers made from the catalog are cached under it. */
  generation = 0;

  constructor(builtIn: readonly ResourceDefinition[]) {
    this.#builtIn = builtIn;
    this.#rebuild();
  }

  get definitions(): readonly ResourceDefinition[] {
    return [...this.#builtIn, ...this.#custom];
  }

  find(group: string, version: string, plural: string): Served | undefined {
    return this.#byPath.get(`${group}/${version}/${plural}`);
  }

  /** In its storage version. `id` is `pods` or `deployments.apps`. */
  byId(id: string): Served | undefined {
    return this.#byId.get(id);
  }

  /** Every stored resource, in its storage version. */
  storage(): readonly Served[] {
    return [...this.#byId.values()].filter((one) => one.id === one.storedAs && one.definition.review === undefined);
  }

  /** Replaces all custom resources. */
  setCustom(definitions: readonly ResourceDefinition[]): void {
    this.#custom = definitions;
    this.#rebuild();
    for (const listener of this.#listeners) {
      listener();
    }
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #rebuild(): void {
    const byPath = new Map<string, Served>();
    const byId = new Map<string, Served>();
    for (const definition of this.definitions) {
      const id = qualified(definition.plural, definition.group);
      for (const version of definition.versions) {
        const served: Served = {
          definition,
          version,
          id,
          storedAs: definition.storedAs ?? id,
          apiVersion: definition.group === '' ? version.version : `${definition.group}/${version.version}`,
          asStored: version.fromStorage === undefined && version === definition.versions[0],
        };
        byPath.set(`${definition.group}/${version.version}/${definition.plural}`, served);
        if (version === definition.versions[0]) {
          byId.set(id, served);
        }
      }
    }
    this.#byPath = byPath;
    this.#byId = byId;
    this.generation += 1;
  }
}

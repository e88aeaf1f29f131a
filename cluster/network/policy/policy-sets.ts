// SPDX-License-Identifier: Apache-2.0
// The sets that rules of policies refer to, each made anew only when what it is made of has changed: a set that is the
// same object as before costs a transaction nothing.

import { createHash } from 'node:crypto';

import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { addressType, ofFamily } from './rule-matches.ts';
import { canonical } from './selections.ts';
import type { LabelSelector } from '../../machinery/api-types.ts';
import type { ElementSet, KeyType } from '../nft/ruleset.ts';
import type { IpWord, PortName } from './rule-matches.ts';
import type { Selection } from './selections.ts';

export interface PolicyNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
}

/** A set as rules use it; `current` is what it holds now. */
export interface PolicySet {
  readonly name: string;
  readonly selection: Selection | undefined;
  current(): ElementSet;
}

/** Makes sets by what they mean; equal meanings share one. */
export class PolicySets {
  readonly #known = new Map<string, { set: PolicySet; usedIn: number }>();
  #nodes: readonly PolicyNode[] = [];
  #nodesVersion = 0;
  #generation = 0;

  update(nodes: readonly PolicyNode[]): void {
    this.#generation += 1;
    if (JSON.stringify(nodes) === JSON.stringify(this.#nodes)) return;
    this.#nodes = nodes;
    this.#nodesVersion += 1;
  }

  /** Addresses of pods. */
  pods(selection: Selection, family: IpWord): PolicySet {
    return this.#get(`pods-${shortHash(selection.key)}-${family}`, {
      selection,
      key: [addressType(family)],
      version: () => selection.version,
      elements: () => [...selection.pods.values()].flatMap(({ ips }) => ofFamily(ips, family)),
    });
  }

  /** Addresses, protocols and ports under which the named ports of pods are reached. */
  ports(selection: Selection, names: readonly PortName[], family: IpWord): PolicySet {
    return this.#get(`ports-${shortHash(`${selection.key}|${canonical(names)}`)}-${family}`, {
      selection,
      key: [addressType(family), 'inet_proto', 'inet_service'],
      version: () => selection.version,
      elements: () =>
        [...selection.pods.values()].flatMap(({ ips, ports }) =>
          ports
            .filter((own) =>
              names.some(
                ({ name, protocol }) => name === own.name && (protocol === undefined || protocol === own.protocol),
              ),
            )
            .flatMap(({ protocol, port }) => ofFamily(ips, family).map((ip) => `${ip} . ${protocol} . ${port}`)),
        ),
    });
  }

  /** Addresses of nodes. */
  nodes(selector: LabelSelector, family: IpWord): PolicySet {
    return this.#get(`nodes-${shortHash(canonical(selector))}-${family}`, {
      selection: undefined,
      key: [addressType(family)],
      version: () => this.#nodesVersion,
      elements: () =>
        this.#nodes
          .filter(({ labels }) => matchesLabelSelector(selector, labels))
          .flatMap(({ addresses }) => ofFamily(addresses, family)),
    });
  }

  /** To be called for a set that is held by the caller, so that it is kept. */
  keep(set: PolicySet): void {
    const known = this.#known.get(set.name);
    if (known !== undefined) known.usedIn = this.#generation;
  }

  /** Forgets what nobody asked for or kept since the last `update`. */
  sweep(): void {
    for (const [name, { usedIn }] of this.#known) if (usedIn !== this.#generation) this.#known.delete(name);
  }

  #get(
    name: string,
    recipe: {
      readonly selection: Selection | undefined;
      readonly key: readonly KeyType[];
      readonly version: () => number;
      readonly elements: () => readonly string[];
    },
  ): PolicySet {
    let known = this.#known.get(name);
    if (known === undefined) {
      let made: ElementSet | undefined;
      let madeFrom = 0;
      const current = (): ElementSet => {
        if (made !== undefined && madeFrom === recipe.version()) return made;
        madeFrom = recipe.version();
        made = { key: recipe.key, elements: new Map(recipe.elements().map((element) => [element, ''])) };
        return made;
      };
      known = { set: { name, selection: recipe.selection, current }, usedIn: this.#generation };
      this.#known.set(name, known);
    }
    known.usedIn = this.#generation;
    return known.set;
  }
}

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}

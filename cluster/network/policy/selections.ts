// SPDX-License-Identifier: Apache-2.0
// Which pods each selector means, kept from one compilation to the next: a pod that comes or changes is held against
// the selectors, instead of all pods against all selectors. Selections that a compilation didn't ask for are forgotten.

import { matchesLabelSelector } from '../../machinery/selectors.ts';
import type { LabelSelector } from '../../machinery/api-types.ts';
import type { PolicyPod } from './policy-pods.ts';

export type NamespaceLabels = ReadonlyMap<string, Readonly<Record<string, string>>>;

/** A fixed namespace, or those that a selector means. */
export type Spaces = { readonly name: string } | { readonly selector: LabelSelector };

/** Pods by one selector. `version` is another one whenever a pod came, went, or is not as it was. */
export interface Selection {
  /** Equal for selectors that are written alike. */
  readonly key: string;
  readonly version: number;
  readonly pods: ReadonlyMap<string, PolicyPod>;
}

interface LiveSelection {
  readonly key: string;
  readonly spaces: Spaces;
  readonly podSelector: LabelSelector;
  version: number;
  readonly pods: Map<string, PolicyPod>;
  usedIn: number;
}

export class Selections {
  readonly #live = new Map<string, LiveSelection>();
  #pods: ReadonlyMap<string, PolicyPod> = new Map();
  #namespaces: NamespaceLabels = new Map();
  #generation = 0;

  /** Brings all selections to these pods and namespaces. */
  update(pods: Iterable<PolicyPod>, namespaces: NamespaceLabels): void {
    const now = new Map<string, PolicyPod>();
    for (const pod of pods) now.set(podKey(pod), pod);
    const relabelled = changedNamespaces(this.#namespaces, namespaces);
    const touched = new Map<string, PolicyPod | undefined>();
    for (const [key, pod] of now) {
      const before = this.#pods.get(key);
      if (before === undefined || !samePod(before, pod) || relabelled.has(pod.namespace)) touched.set(key, pod);
      // The old object stays, so that whoever compares identities sees no change.
      else if (before !== pod) now.set(key, before);
    }
    for (const key of this.#pods.keys()) if (!now.has(key)) touched.set(key, undefined);
    this.#pods = now;
    this.#namespaces = namespaces;
    this.#generation += 1;
    if (touched.size === 0) return;
    for (const selection of this.#live.values()) this.#bring(selection, touched);
  }

  of(spaces: Spaces, podSelector: LabelSelector): Selection {
    const key = `${'name' in spaces ? spaces.name : canonical(spaces.selector)}|${canonical(podSelector)}`;
    let selection = this.#live.get(key);
    if (selection === undefined) {
      selection = { key, spaces, podSelector, version: 0, pods: new Map(), usedIn: this.#generation };
      this.#bring(selection, this.#pods);
      this.#live.set(key, selection);
    }
    selection.usedIn = this.#generation;
    return selection;
  }

  /** To be called for a selection that is held by the caller, so that it is kept. */
  keep(selection: Selection): void {
    const live = this.#live.get(selection.key);
    if (live !== undefined) live.usedIn = this.#generation;
  }

  /** Forgets what nobody asked for or kept since the last `update`. */
  sweep(): void {
    for (const [key, { usedIn }] of this.#live) if (usedIn !== this.#generation) this.#live.delete(key);
  }

  #bring(selection: LiveSelection, touched: ReadonlyMap<string, PolicyPod | undefined>): void {
    const { spaces, podSelector, pods } = selection;
    const chosen = new Map<string, boolean>();
    const inSpaces = (namespace: string): boolean => {
      if ('name' in spaces) return spaces.name === namespace;
      let answer = chosen.get(namespace);
      if (answer === undefined) {
        const labels = this.#namespaces.get(namespace);
        answer = labels !== undefined && matchesLabelSelector(spaces.selector, labels);
        chosen.set(namespace, answer);
      }
      return answer;
    };
    let changed = false;
    for (const [key, pod] of touched) {
      if (pod !== undefined && inSpaces(pod.namespace) && matchesLabelSelector(podSelector, pod.labels)) {
        if (pods.get(key) === pod) continue;
        pods.set(key, pod);
        changed = true;
      } else if (pods.delete(key)) changed = true;
    }
    if (changed) selection.version += 1;
  }
}

function changedNamespaces(before: NamespaceLabels, now: NamespaceLabels): Set<string> {
  const changed = new Set<string>();
  for (const [name, labels] of now) {
    const old = before.get(name);
    if (old !== labels && (old === undefined || canonical(old) !== canonical(labels))) changed.add(name);
  }
  for (const name of before.keys()) if (!now.has(name)) changed.add(name);
  return changed;
}

function podKey({ namespace, name, uid }: PolicyPod): string {
  return `${namespace}/${name}/${uid}`;
}

/** Pods that the API has shown anew have new objects also where nothing that matters here has changed. */
function samePod(one: PolicyPod, other: PolicyPod): boolean {
  if (one === other) return true;
  return (
    one.nodeName === other.nodeName &&
    one.ips.join() === other.ips.join() &&
    (one.labels === other.labels || canonical(one.labels) === canonical(other.labels)) &&
    (one.ports === other.ports || JSON.stringify(one.ports) === JSON.stringify(other.ports))
  );
}

/** JSON with sorted keys: equal selectors have equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

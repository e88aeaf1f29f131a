// SPDX-License-Identifier: Apache-2.0
/** What is broken, with what proves it. */

export interface Diagnosis {
  /** `no-route`, `foreign-firewall`, `component-down`, ...: those of traces, and those of everything that no packet shows. */
  readonly reason: string;
  /** Whose work it is: `network`, `kube-proxy`, `firewall`, `kubelet`, `dns`, `application`, ... */
  readonly component: string;
  readonly node?: string;
  /** `KIND [NAMESPACE/]NAME`. */
  readonly objects: readonly string[];
  /** One sentence. */
  readonly summary: string;
  readonly evidence: readonly string[];
  readonly next: string;
  /** How surely it is a cause and not an effect, 0 to 100. */
  readonly weight: number;
}

/** Causes first; of findings about the same thing the surest stays. */
export function ranked(found: readonly Diagnosis[]): Diagnosis[] {
  const kept: Diagnosis[] = [];
  for (const one of withoutEffects(found).toSorted((a, b) => b.weight - a.weight)) {
    const twin = kept.findIndex((other) => sameThing(one, other));
    const known = kept[twin];
    if (known === undefined) kept.push(one);
    else
      kept[twin] = {
        ...known,
        objects: [...new Set([...known.objects, ...one.objects])],
        evidence: [...new Set([...known.evidence, one.summary, ...one.evidence])].slice(0, 20),
      };
  }
  return kept;
}

/**
 * What a foreign rule drops looks as if the service proxy had not written its rules; the proof then names that rule. And where the pods of a
 * Service end again and again, its endpoints come and go faster than anybody can compare.
 */
function withoutEffects(found: readonly Diagnosis[]): Diagnosis[] {
  const rules = found
    .filter(({ reason }) => reason === 'foreign-firewall')
    .flatMap(({ evidence }) => evidence.map((fact) => /table (\S+ \S+), chain (\S+?):/.exec(fact)))
    .filter((match) => match !== null)
    .map(([, table = '', chain = '']) => `${table} ${chain} `);
  const restless = new Set(
    found.filter(({ reason }) => reason === 'crash-loop').flatMap(({ objects }) => objects.filter(isService)),
  );
  return found.filter(({ component, objects, evidence }) => {
    if (component !== 'kube-proxy') return true;
    const services = objects.filter(isService);
    if (services.length > 0 && services.every((service) => restless.has(service))) return false;
    return !evidence.some((fact) => rules.some((rule) => fact.includes(rule)));
  });
}

function isService(object: string): boolean {
  return object.startsWith('Service ');
}

function sameThing(one: Diagnosis, other: Diagnosis): boolean {
  if (one.component !== other.component || one.node !== other.node) return false;
  if (one.node !== undefined && one.reason === other.reason && one.component !== 'application') return true;
  return one.objects.some((object) => !object.startsWith('Node ') && other.objects.includes(object));
}

// SPDX-License-Identifier: Apache-2.0
/** How right a diagnosis is, given what a right one says. Pure: both sides are data that came out of commands. */

/** One cause, as `plumb cluster fault inject --answer FILE` writes it. Any of several values is right. */
export interface Cause {
  readonly reason: readonly string[];
  readonly component: readonly string[];
  readonly node?: string;
  /** `KIND [NAMESPACE/]NAME`. */
  readonly object?: readonly string[];
}

/** One finding, as `plumb diagnose --json` prints it; the likeliest comes first. */
export interface Finding {
  readonly reason: string;
  readonly component: string;
  readonly node?: string;
  readonly objects: readonly string[];
  readonly summary: string;
}

export interface Score {
  /** Anything was found. */
  readonly detected: boolean;
  /** The right component is blamed. */
  readonly component: boolean;
  /** And the reason and the node are right. */
  readonly hop: boolean;
  /** And the object is named. */
  readonly object: boolean;
}

/** Only as many findings count as there are causes: whoever reads at night reads the first line. All causes must be found. */
export function score(causes: readonly Cause[], findings: readonly Finding[]): Score {
  const first = findings.slice(0, causes.length);
  const every = (fits: (cause: Cause, finding: Finding) => boolean): boolean =>
    causes.every((cause) => first.some((finding) => fits(cause, finding)));
  const component = (cause: Cause, { component: blamed }: Finding): boolean => cause.component.includes(blamed);
  const hop = (cause: Cause, finding: Finding): boolean =>
    component(cause, finding) &&
    cause.reason.includes(finding.reason) &&
    (cause.node === undefined || cause.node === finding.node);
  const object = (cause: Cause, finding: Finding): boolean =>
    hop(cause, finding) && (cause.object === undefined || cause.object.some((one) => finding.objects.includes(one)));
  return { detected: findings.length > 0, component: every(component), hop: every(hop), object: every(object) };
}

/** Errors: what the text is instead of the findings of a diagnosis. */
export function findingsOf(json: string): Finding[] {
  const document: unknown = JSON.parse(json);
  const findings = (document as { findings?: unknown } | null)?.findings;
  if (!Array.isArray(findings)) throw new Error(`no findings in ${json.slice(0, 200)}`);
  return findings.map((value: unknown) => {
    const { reason, component, node, objects, summary } = value as Record<string, unknown>;
    if (typeof reason !== 'string' || typeof component !== 'string' || !Array.isArray(objects)) {
      throw new Error(`no finding: ${JSON.stringify(value).slice(0, 200)}`);
    }
    return {
      reason,
      component,
      objects: objects.map(String),
      summary: String(summary ?? ''),
      ...(typeof node === 'string' ? { node } : {}),
    };
  });
}

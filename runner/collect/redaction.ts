// SPDX-License-Identifier: Apache-2.0
/** Withholds values that look secret: environment variables by their names, and the copy of a whole object in kubectl's annotation. Pure. */

export const placeholder = '(withheld)';

const secretName = /pass(word|wd|phrase)?|secret|token|api_?key|private_?key|credential|auth/i;
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/** A copy of the object without such values. Objects without any are returned as they are. */
export function withheld<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withheld) as T;
  if (typeof value !== 'object' || value === null) return value;
  const copy: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) {
    copy[name] =
      name === 'env' && Array.isArray(inner)
        ? inner.map(withoutSecret)
        : name === lastApplied
          ? placeholder
          : withheld(inner);
  }
  return copy as T;
}

function withoutSecret(variable: unknown): unknown {
  if (typeof variable !== 'object' || variable === null || !('name' in variable) || !('value' in variable))
    return variable;
  return secretName.test(String(variable.name)) ? { ...variable, value: placeholder } : variable;
}

// SPDX-License-Identifier: Apache-2.0
// Times as `metav1.Time` spells them.

/** RFC 3339 in whole seconds, UTC. */
export function timestamp(milliseconds = Date.now()): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

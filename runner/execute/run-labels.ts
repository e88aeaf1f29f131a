// SPDX-License-Identifier: Apache-2.0
/** The label by which everything that a run created is found again, and by nothing else. */

export const runIdLabel = 'plumbline.io/run-id';

export function runLabels(runId: string): Readonly<Record<string, string>> {
  return { [runIdLabel]: runId, 'app.kubernetes.io/managed-by': 'plumbline' };
}

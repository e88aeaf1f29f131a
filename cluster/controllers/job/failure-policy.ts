// SPDX-License-Identifier: Apache-2.0
// What a Job's podFailurePolicy says of one failed pod.
import type { Pod, PodFailurePolicy, PodFailurePolicyRule } from '../../machinery/api-types.ts';

export type FailureVerdict =
  | { readonly action: 'Count' }
  | { readonly action: 'Ignore' }
  | { readonly action: 'FailIndex' }
  | { readonly action: 'FailJob'; readonly message: string };

/** The first rule that matches decides; without one, the failure counts. */
export function judgeFailure(policy: PodFailurePolicy | undefined, pod: Pod): FailureVerdict {
  for (const [index, rule] of (policy?.rules ?? []).entries()) {
    const match = matchRule(rule, pod);
    if (match === undefined) continue;
    switch (rule.action) {
      case 'Ignore':
        return { action: 'Ignore' };
      case 'FailIndex':
        return { action: 'FailIndex' };
      case 'FailJob':
        return { action: 'FailJob', message: `${match} matching FailJob rule at index ${index}` };
      default:
        return { action: 'Count' };
    }
  }
  return { action: 'Count' };
}

/** What matched, in words, or undefined. */
function matchRule(rule: PodFailurePolicyRule, pod: Pod): string | undefined {
  const name = `${pod.metadata.namespace}/${pod.metadata.name}`;
  const { onExitCodes, onPodConditions = [] } = rule;
  if (onExitCodes) {
    const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
    for (const status of statuses) {
      const exitCode = status.state?.terminated?.exitCode;
      if (exitCode === undefined || exitCode === 0) continue;
      if (onExitCodes.containerName && onExitCodes.containerName !== status.name) continue;
      const listed = (onExitCodes.values ?? []).includes(exitCode);
      if (listed === (onExitCodes.operator === 'In')) {
        return `Container ${status.name} for pod ${name} failed with exit code ${exitCode}`;
      }
    }
  }
  for (const { type, status } of onPodConditions) {
    const condition = pod.status?.conditions?.find((one) => one.type === type);
    if (condition && condition.status === (status ?? 'True')) return `Pod ${name} has condition ${type}`;
  }
  return undefined;
}

// SPDX-License-Identifier: Apache-2.0
// Conditions in a status: setting one keeps the time of the last transition unless its status changed.

interface AnyCondition {
  type: string;
  status?: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
  lastUpdateTime?: string;
}

/** RFC 3339 in whole seconds, as the API writes times. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The list with `condition` in the place of the one of the same type; the same list when nothing changes. */
export function setCondition<C extends AnyCondition>(
  conditions: readonly C[] | undefined,
  condition: C,
  now: number,
): C[] {
  const list = [...(conditions ?? [])];
  const index = list.findIndex(({ type }) => type === condition.type);
  const old = list[index];
  if (old && old.status === condition.status && old.reason === condition.reason && old.message === condition.message) {
    return list;
  }
  const lastTransitionTime =
    old && old.status === condition.status && old.lastTransitionTime ? old.lastTransitionTime : timestamp(now);
  const next = { ...condition, lastTransitionTime };
  if (index < 0) list.push(next);
  else list[index] = next;
  return list;
}

export function removeCondition<C extends AnyCondition>(conditions: readonly C[] | undefined, type: string): C[] {
  return (conditions ?? []).filter((condition) => condition.type !== type);
}

export function findCondition<C extends AnyCondition>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((condition) => condition.type === type);
}

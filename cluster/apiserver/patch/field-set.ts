// SPDX-License-Identifier: Apache-2.0
// Sets of field paths in the form in which `managedFields` stores them (FieldsV1): a tree of `f:<field>`, `k:<keys>` and
// `v:<value>` steps. A node is a member of the set when it is empty or has `.`. Sets are never changed in place.

export interface FieldSet {
  readonly [step: string]: FieldSet;
}

export const EMPTY: FieldSet = {};
const SELF = '.';

/** Whether the path that leads to this node belongs to the set; the root is no path. */
function isMember(node: FieldSet): boolean {
  return SELF in node || isEmpty(node);
}

export function isEmpty(set: FieldSet): boolean {
  for (const _ in set) return false;
  return true;
}

/** A node from its parts; undefined when nothing is left of it. */
export function nodeOf(member: boolean, children: Record<string, FieldSet>): FieldSet | undefined {
  if (isEmpty(children)) return member ? EMPTY : undefined;
  return member ? { [SELF]: EMPTY, ...children } : children;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  const result: Record<string, FieldSet> = { ...a };
  for (const step in b) {
    const theirs = b[step] ?? EMPTY;
    const ours = a[step];
    result[step] = ours === undefined || step === SELF ? theirs : unionOfNodes(ours, theirs);
  }
  return result;
}

function unionOfNodes(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a) && isEmpty(b)) return a;
  const both = union(a, b);
  return isMember(a) || isMember(b) ? { [SELF]: EMPTY, ...both } : both;
}

/** The paths of `a` that are not paths of `b`. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  const result: Record<string, FieldSet> = {};
  for (const step in a) {
    if (step === SELF) continue;
    const ours = a[step] ?? EMPTY;
    const theirs = b[step];
    const rest =
      theirs === undefined ? ours : nodeOf(isMember(ours) && !isMember(theirs), { ...difference(ours, theirs) });
    if (rest !== undefined) result[step] = rest;
  }
  return result;
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const result: Record<string, FieldSet> = {};
  for (const step in a) {
    const ours = a[step];
    const theirs = b[step];
    if (step === SELF || ours === undefined || theirs === undefined) continue;
    const common = nodeOf(isMember(ours) && isMember(theirs), { ...intersection(ours, theirs) });
    if (common !== undefined) result[step] = common;
  }
  return result;
}

/** Takes away the path and everything below it. */
export function without(set: FieldSet, path: readonly string[]): FieldSet {
  const [step, ...rest] = path;
  const node = step === undefined ? undefined : set[step];
  if (step === undefined || node === undefined) return set;
  const result = { ...set };
  const left = rest.length === 0 ? undefined : without(node, rest);
  if (left === undefined || (isEmpty(left) && !isEmpty(node))) delete result[step];
  else result[step] = left;
  return result;
}

export function equalSets(a: FieldSet, b: FieldSet): boolean {
  for (const step in a) {
    const theirs = b[step];
    if (theirs === undefined || !equalSets(a[step] ?? EMPTY, theirs)) return false;
  }
  for (const step in b) if (!(step in a)) return false;
  return true;
}

/** Readable paths of all members, sorted: `.spec.containers[name="web"].image`. */
export function pathsOf(set: FieldSet): string[] {
  const paths: string[] = [];
  collect(set, '', paths);
  return paths.toSorted();
}

function collect(node: FieldSet, prefix: string, paths: string[]): void {
  for (const [step, child] of Object.entries(node)) {
    if (step === SELF) continue;
    const path = prefix + stepText(step);
    if (isMember(child)) paths.push(path);
    collect(child, path, paths);
  }
}

function stepText(step: string): string {
  const value = step.slice(2);
  if (step.startsWith('f:')) return `.${value}`;
  if (step.startsWith('k:')) {
    const keys = Object.entries(JSON.parse(value) as Record<string, unknown>);
    return `[${keys.map(([name, key]) => `${name}=${JSON.stringify(key)}`).join(',')}]`;
  }
  return step.startsWith('v:') ? `[=${value}]` : `[${value}]`;
}

/** The same set with its steps in order, as every writer of managedFields has them; itself when they are. */
export function sorted(set: FieldSet): FieldSet {
  const steps = Object.keys(set);
  let same = true;
  const inner = new Map<string, FieldSet>();
  for (const [at, step] of steps.entries()) {
    const before = set[step] ?? EMPTY;
    const after = sorted(before);
    same &&= after === before && (at === 0 || (steps[at - 1] ?? '') < step);
    inner.set(step, after);
  }
  return same ? set : Object.fromEntries(steps.toSorted().map((step) => [step, inner.get(step) ?? EMPTY]));
}

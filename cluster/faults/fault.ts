// SPDX-License-Identifier: Apache-2.0
// A fault as data, read from fixtures/faults/*.yaml: how to inject it, what users would see, and what a right diagnosis says. How it is
// healed follows from the steps: each knows its own undoing.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

/** Nodes by their part, or the LAN between them. */
export const places = ['control-plane', 'worker', 'worker2', 'workers', 'all', 'lan'] as const;
export type Place = (typeof places)[number];

export const componentStates = ['down', 'pause'] as const;
export type ComponentState = (typeof componentStates)[number];

/** Scripts are run by `sh -eu`, with the variables of world.ts; manifests have them as `${NAME}`. */
export type Step =
  /** A script that ends by itself, and the one that undoes it. */
  | { readonly on: Place; readonly run: string; readonly undo?: string }
  /** A script that goes on until the fault is healed. */
  | { readonly on: Place; readonly keep: string }
  /** A script that is repeated until it succeeds: the fault is there only then. */
  | { readonly on: Place; readonly until: string }
  /** A component ended (`down`) or frozen (`pause`) under the node's supervisor. */
  | { readonly on: Place; readonly component: string; readonly to: ComponentState }
  /** Objects to create. */
  | { readonly create: string }
  /** `KIND [NAMESPACE/]NAME`, with a strategic merge patch. */
  | { readonly patch: string; readonly with: Readonly<Record<string, unknown>> }
  /** `KIND [NAMESPACE/]NAME`. */
  | { readonly delete: string }
  /** `Deployment NAMESPACE/NAME`: waits until every pod is of the newest template, ready or not. */
  | { readonly rolledOut: string };

export interface Diagnosis {
  /** Normalised reasons, any of which is right. */
  readonly reason: readonly string[];
  /** Components, any of which may be blamed. */
  readonly component: readonly string[];
  /** Node where the packet ends, or whose part is broken; absent where none is meant. */
  readonly node?: string;
  /** `KIND [NAMESPACE/]NAME` to be named, any of them; absent where the node is all there is to name. */
  readonly object?: readonly string[];
}

export interface Fault {
  readonly id: string;
  readonly title: string;
  readonly area: string;
  /** `--network` modes in which it can be; all unless told. */
  readonly networks?: readonly string[];
  readonly inject: readonly Step[];
  /** What somebody sees who does not know. */
  readonly symptoms: string;
  /** One for each cause. */
  readonly diagnosis: readonly Diagnosis[];
}

/** Every fault of a folder of YAML files, by file and then as written. Errors name the file, the fault, the field, and what it must be. */
export function readFaults(directory: string): Fault[] {
  const faults = globSync('*.faults.yaml', { cwd: directory })
    .toSorted()
    .flatMap((file) => {
      const content: unknown = parse(readFileSync(join(directory, file), 'utf8'));
      if (!Array.isArray(content)) throw new Error(`${file}: must be a list of faults`);
      return content.map((value) => decodeFault(value, { file, area: file.replace('.faults.yaml', '') }));
    });
  const twice = faults.find((fault, index) => faults.findIndex(({ id }) => id === fault.id) !== index);
  if (twice !== undefined) throw new Error(`two faults have the id ${twice.id}`);
  return faults;
}

export function decodeFault(value: unknown, origin: { readonly file: string; readonly area: string }): Fault {
  const fault = mapping(value, `${origin.file}: a fault`);
  const id = text(fault['id'], `${origin.file}: id`);
  if (!/^[a-z0-9-]+$/.test(id)) throw new Error(`${origin.file}: id "${id}" must be lower-case words joined by dashes`);
  const where = `${origin.file}: ${id}`;
  requireKnown(fault, ['id', 'title', 'networks', 'inject', 'symptoms', 'diagnosis'], where);
  return {
    id,
    title: text(fault['title'], `${where}.title`),
    area: origin.area,
    ...(fault['networks'] === undefined ? {} : { networks: texts(fault['networks'], `${where}.networks`) }),
    inject: list(fault['inject'], `${where}.inject`).map((step, index) =>
      decodeStep(step, `${where}.inject[${index}]`),
    ),
    symptoms: text(fault['symptoms'], `${where}.symptoms`),
    diagnosis: list(fault['diagnosis'], `${where}.diagnosis`).map((one, index) =>
      decodeDiagnosis(one, `${where}.diagnosis[${index}]`),
    ),
  };
}

function decodeStep(value: unknown, where: string): Step {
  const step = mapping(value, where);
  const field = (name: string): string => text(step[name], `${where}.${name}`);
  if ('create' in step) return known(step, ['create'], where, { create: field('create') });
  if ('delete' in step) return known(step, ['delete'], where, { delete: field('delete') });
  if ('rolledOut' in step) return known(step, ['rolledOut'], where, { rolledOut: field('rolledOut') });
  if ('patch' in step) {
    return known(step, ['patch', 'with'], where, {
      patch: field('patch'),
      with: mapping(step['with'], `${where}.with`),
    });
  }
  const on = oneOf(places, step['on'], `${where}.on`);
  if ('component' in step) {
    const to = oneOf(componentStates, step['to'], `${where}.to`);
    return known(step, ['on', 'component', 'to'], where, { on, component: field('component'), to });
  }
  if ('keep' in step) return known(step, ['on', 'keep'], where, { on, keep: field('keep') });
  if ('until' in step) return known(step, ['on', 'until'], where, { on, until: field('until') });
  const undo = step['undo'] === undefined ? {} : { undo: field('undo') };
  return known(step, ['on', 'run', 'undo'], where, { on, run: field('run'), ...undo });
}

function decodeDiagnosis(value: unknown, where: string): Diagnosis {
  const diagnosis = mapping(value, where);
  requireKnown(diagnosis, ['reason', 'component', 'node', 'object'], where);
  return {
    reason: texts(diagnosis['reason'], `${where}.reason`),
    component: texts(diagnosis['component'], `${where}.component`),
    ...(diagnosis['node'] === undefined ? {} : { node: text(diagnosis['node'], `${where}.node`) }),
    ...(diagnosis['object'] === undefined ? {} : { object: texts(diagnosis['object'], `${where}.object`) }),
  };
}

function known<T>(value: Record<string, unknown>, fields: readonly string[], where: string, decoded: T): T {
  requireKnown(value, fields, where);
  return decoded;
}

function requireKnown(value: Record<string, unknown>, fields: readonly string[], where: string): void {
  const other = Object.keys(value).find((key) => !fields.includes(key));
  if (other !== undefined) throw new Error(`${where}: unknown field "${other}"; there are ${fields.join(', ')}`);
}

function mapping(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${where} must be a mapping, not ${JSON.stringify(value)}`);
}

function list(value: unknown, where: string): unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw new Error(`${where} must be a list with at least one item, not ${JSON.stringify(value)}`);
}

function text(value: unknown, where: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Error(`${where} must be text, not ${JSON.stringify(value)}`);
}

/** One text, or several. */
function texts(value: unknown, where: string): string[] {
  return (Array.isArray(value) ? value : [value]).map((item) => text(item, where));
}

function oneOf<T extends string>(allowed: readonly T[], value: unknown, where: string): T {
  const found = allowed.find((item) => item === value);
  if (found === undefined)
    throw new Error(`${where} must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`);
  return found;
}

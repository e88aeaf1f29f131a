// SPDX-License-Identifier: Apache-2.0
// The command line of `plumb cluster`: its flags, and what is wrong with their values, in words.

import { parseArgs } from 'node:util';

import { addressToBigint, familyOf } from '../network/addresses.ts';
import { readGivenPrograms } from './given-programs.ts';
import { defaultName } from './layout.ts';
import { networkModes, type NetworkMode } from './state.ts';

/** The command line is wrong. */
export class UsageError extends Error {}

const options = {
  name: { type: 'string', default: defaultName },
  workers: { type: 'string' },
  nodes: { type: 'string' },
  'kubernetes-version': { type: 'string', default: 'v1.36.0' },
  'etcd-endpoints': { type: 'string', default: '' },
  'etcd-members': { type: 'string', default: '1' },
  component: { type: 'string', multiple: true, default: [] as string[] },
  'proxy-mode': { type: 'string', default: 'nftables' },
  network: { type: 'string', default: 'routed' },
  'ip-family': { type: 'string', default: 'ipv4' },
  lan: { type: 'string', default: '' },
  'load-balancer-range': { type: 'string', default: '' },
  ingress: { type: 'boolean', default: false },
  wait: { type: 'boolean', default: true },
  all: { type: 'boolean', default: false },
  content: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  output: { type: 'string', short: 'o' },
  insecure: { type: 'boolean', default: false },
  follow: { type: 'boolean', short: 'f', default: false },
  tail: { type: 'string', default: '100' },
  answer: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export type Values = ReturnType<typeof parse>['values'];

export function parse(argv: readonly string[]) {
  // exec's own command keeps its flags: everything after the node's name belongs to it.
  const [before, after] = splitExec(argv);
  try {
    const { values, positionals } = parseArgs({
      args: before,
      options,
      allowPositionals: true,
      allowNegative: true,
      strict: true,
    });
    return { values, positionals: [...positionals, ...after] };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function splitExec(argv: readonly string[]): [string[], string[]] {
  const dashes = argv.indexOf('--');
  return dashes < 0 ? [[...argv], []] : [argv.slice(0, dashes), argv.slice(dashes + 1)];
}

export function givenPrograms(texts: readonly string[]): ReturnType<typeof readGivenPrograms> {
  try {
    return readGivenPrograms(texts);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** A name becomes part of node names and directories: a DNS label with room for "-control-plane". */
export function clusterName(name: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) return name;
  throw new UsageError(`--name "${name}": use up to 40 lower-case letters, digits and dashes`);
}

export function workerCount(values: Values): number {
  if (values.nodes !== undefined) {
    if (values.workers !== undefined)
      throw new UsageError('--nodes and --workers say the same thing; give one of them');
    return naturalNumber(values.nodes, '--nodes', 1) - 1;
  }
  return naturalNumber(values.workers ?? '2', '--workers', 0);
}

function naturalNumber(text: string, flag: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > 200)
    throw new UsageError(`${flag} "${text}": give a number from ${least} to 200`);
  return value;
}

export function oddNumber(text: string, flag: string): number {
  const value = naturalNumber(text, flag, 1);
  if (value % 2 === 0 || value > 7)
    throw new UsageError(`${flag} "${text}": give 1, 3, 5 or 7, so that a majority is clear`);
  return value;
}

export function kubernetesVersion(text: string): string {
  const match = /^v?(\d+)\.(\d+)(\.\d+)?$/.exec(text);
  if (match === null) throw new UsageError(`--kubernetes-version "${text}": give a version such as v1.36.0`);
  return `v${match[1] ?? ''}.${match[2] ?? ''}${match[3] ?? '.0'}`;
}

export function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new UsageError(`${flag} "${text}": give ${choices.join(' or ')}`);
  return found;
}

export function networkMode(text: string): NetworkMode {
  // The flag had the LAN's meaning once.
  if (/^\d/.test(text)) throw new UsageError(`--network "${text}": the LAN is chosen by --lan ${text}`);
  return oneOf('--network', text, networkModes);
}

export function addressRanges(text: string): string {
  const isRange = (range: string): boolean => {
    const [first = '', last = '', ...more] = range.split('-');
    const family = familyOf(first);
    return (
      more.length === 0 &&
      family !== undefined &&
      family === familyOf(last) &&
      addressToBigint(first) <= addressToBigint(last)
    );
  };
  if (text === '' || text.split(',').every(isRange)) return text;
  throw new UsageError(
    `--load-balancer-range "${text}": give the first and the last address of free ones on the LAN, such as 172.28.7.200-172.28.7.239; one range per family, with a comma`,
  );
}

export function lanPrefix(text: string): string {
  if (text === '') return '';
  const match = /^(\d{1,3}\.\d{1,3}\.\d{1,3})(\.0\/24)?$/.exec(text);
  if (match?.[1] === undefined)
    throw new UsageError(`--lan "${text}": give the first three numbers of a /24, such as 172.28.7`);
  return match[1];
}

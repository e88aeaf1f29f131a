// SPDX-License-Identifier: Apache-2.0
/** Durations and sizes as people write them on command lines. */
import { InvalidArgumentError } from 'commander';

const seconds: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };
const octets: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  ki: 1024,
  mi: 1024 ** 2,
  gi: 1024 ** 3,
};

/** `30`, `30s`, `5m`, `1h`: seconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * (seconds[match[2] ?? 's'] ?? 1);
  if (!(value > 0)) throw new InvalidArgumentError('write it as 30s, 5m or 1h');
  return value;
}

/** `100000`, `100k`, `10M`, `1Gi`: octets. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmg]i?)?b?$/i.exec(text);
  const value =
    match === null ? Number.NaN : Math.floor(Number(match[1]) * (octets[(match[2] ?? '').toLowerCase()] ?? 1));
  if (!(value > 0)) throw new InvalidArgumentError('write it as 100k, 10M or 1G');
  return value;
}

export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1');
  return value;
}

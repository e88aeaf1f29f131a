// SPDX-License-Identifier: Apache-2.0
// The canonical text of a quantity, which is what upstream writes whatever the client sent: `0.5` -> `500m`,
// `1024Mi` -> `1Gi`, `1e3` stays `1e3`.

const PATTERN = /^([+-]?)(\d*)(?:\.(\d*))?(.*)$/;
const DECIMAL: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const DECIMAL_SUFFIXES = new Map(Object.entries(DECIMAL).map(([suffix, exponent]) => [exponent, suffix]));
const MAX = (2n ** 63n - 1n) * 10n ** 9n;
const NANO = 10n ** 9n;

const FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX_WRONG = "unable to parse quantity's suffix";

/** Few different quantities occur, again and again. */
const cache = new Map<string, string>();
const CACHE_LIMIT = 4096;

/** @throws Error with upstream's wording when the text is no quantity. */
export function canonicalQuantity(text: string): string {
  const known = cache.get(text);
  if (known !== undefined) return known;
  const { nano, format } = parseNano(text.trim());
  const canonical = formatNano(nano, format);
  if (cache.size >= CACHE_LIMIT) cache.clear();
  cache.set(text, canonical);
  return canonical;
}

export type QuantityFormat = 'DecimalSI' | 'DecimalExponent' | 'BinarySI';

/**
 * The value in units of 10^-9, rounded away from zero and capped at 2^63-1 as upstream does.
 * @throws Error with upstream's wording.
 */
export function parseNano(text: string): { nano: bigint; format: QuantityFormat } {
  const match = PATTERN.exec(text);
  const [, sign = '', integer = '', fraction = '', suffix = ''] = match ?? [];
  if (match === null || (integer === '' && fraction === '')) throw new Error(FORMAT_WRONG);
  const { base, exponent, format } = parseSuffix(suffix);
  let digits = BigInt(integer + fraction);
  let divisor = 10n ** BigInt(fraction.length);
  if (base === 2) digits *= 1024n ** BigInt(exponent);
  else if (exponent >= 0) digits *= 10n ** BigInt(Math.min(exponent, 40));
  else divisor *= 10n ** BigInt(Math.min(-exponent, 40));
  let nano = (digits * NANO + divisor - 1n) / divisor;
  if (nano > MAX) nano = MAX;
  return { nano: sign === '-' ? -nano : nano, format };
}

function parseSuffix(suffix: string): { base: 2 | 10; exponent: number; format: QuantityFormat } {
  const decimal = DECIMAL[suffix];
  if (decimal !== undefined) return { base: 10, exponent: decimal, format: 'DecimalSI' };
  const binary = BINARY.indexOf(suffix);
  if (binary !== -1) return { base: 2, exponent: binary, format: 'BinarySI' };
  const scientific = /^[eE]([+-]?\d+)$/.exec(suffix);
  if (scientific !== null) return { base: 10, exponent: Number(scientific[1]), format: 'DecimalExponent' };
  throw new Error(/^[eEinumkKMGTP]*[-+]?\d*$/.test(suffix) ? SUFFIX_WRONG : FORMAT_WRONG);
}

function formatNano(nano: bigint, format: QuantityFormat): string {
  if (nano === 0n) return '0';
  if (format === 'BinarySI' && (nano >= 1024n * NANO || nano <= -1024n * NANO)) {
    let value = nano / NANO;
    if (nano % NANO !== 0n) value += nano > 0n ? 1n : -1n;
    let power = 0;
    while (power < BINARY.length - 1 && value % 1024n === 0n) {
      value /= 1024n;
      power++;
    }
    return `${value}${BINARY[power]}`;
  }
  let exponent = -9;
  let value = nano;
  while (exponent < 18 && value % 1000n === 0n) {
    value /= 1000n;
    exponent += 3;
  }
  if (format === 'DecimalExponent') return exponent === 0 ? String(value) : `${value}e${exponent}`;
  return `${value}${DECIMAL_SUFFIXES.get(exponent) ?? ''}`;
}

// SPDX-License-Identifier: Apache-2.0
// Kubernetes quantities (`250m`, `1Gi`, `2e3`): exact arithmetic on whole nano units, rounding up where a coarser unit
// cannot hold the value, and the canonical text that the API server stores.

export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

type QuantityLike = string | number | bigint | undefined;

const nano = 1_000_000_000n;
const decimal: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const binary: Readonly<Record<string, number>> = { Ki: 10, Mi: 20, Gi: 30, Ti: 40, Pi: 50, Ei: 60 };
const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,9}))?$/;
const decimalSuffixes = Object.entries(decimal).toReversed();
const binarySuffixes = Object.entries(binary).toReversed();

/** Parsed texts repeat by the thousand (a cluster has few distinct requests); the cache is emptied when it grows. */
const cache = new Map<string, bigint>();

/** Value in nano units, rounded away from zero below that. Errors: text that is no quantity. */
export function parseQuantity(text: string | number): bigint {
  const key = String(text);
  const known = cache.get(key);
  if (known !== undefined) return known;
  const value = parse(key);
  if (cache.size > 10_000) cache.clear();
  cache.set(key, value);
  return value;
}

export function isQuantity(text: unknown): boolean {
  if (typeof text !== 'string' && typeof text !== 'number') return false;
  const match = pattern.exec(String(text));
  return match !== null && `${match[2] ?? ''}${match[3] ?? ''}` !== '';
}

/** Thousandths, rounded up; 0 for undefined. A bigint is in nano units. */
export function toMilli(quantity: QuantityLike): number {
  return Number(divideUp(toNano(quantity), 1_000_000n));
}

/** Whole units (bytes, counts), rounded up; 0 for undefined. A bigint is in nano units. */
export function toBytes(quantity: QuantityLike): number {
  return Number(divideUp(toNano(quantity), nano));
}

/** Negative, zero or positive, as `a` is less than, equal to or greater than `b`. */
export function compare(a: QuantityLike, b: QuantityLike): number {
  const left = toNano(a);
  const right = toNano(b);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Sum of all; the text keeps the format of the first that is not zero, as the API server's own sums do. */
export function add(...quantities: QuantityLike[]): string {
  const sum = quantities.reduce<bigint>((total, quantity) => total + toNano(quantity), 0n);
  return format(
    sum,
    formatOf(
      quantities.find((quantity) => typeof quantity === 'string' && toNano(quantity) !== 0n) as string | undefined,
    ),
  );
}

/** The canonical text of a quantity: what the API server stores and shows (`0.5` -> `500m`, `1024Mi` -> `1Gi`). */
export function canonical(text: string | number): string {
  return format(parseQuantity(text), formatOf(String(text)));
}

/** Canonical text of a value in nano units: the largest suffix that leaves a whole number. */
export function format(value: bigint, style: QuantityFormat = 'DecimalSI'): string {
  if (value === 0n) return '0';
  const sign = value < 0n ? '-' : '';
  const amount = value < 0n ? -value : value;
  // Below 1024, or with a fraction, the API falls back from binary to decimal suffixes.
  if (style === 'BinarySI' && amount >= 1024n * nano && amount % nano === 0n) {
    const whole = amount / nano;
    for (const [suffix, bits] of binarySuffixes) {
      if (whole % (1n << BigInt(bits)) === 0n) return `${sign}${whole >> BigInt(bits)}${suffix}`;
    }
    return `${sign}${whole}`;
  }
  for (const [suffix, exponent] of decimalSuffixes) {
    const unit = 10n ** BigInt(exponent + 9);
    if (amount % unit !== 0n) continue;
    const text = `${sign}${amount / unit}`;
    if (style !== 'DecimalExponent' || exponent === 0) return text + (style === 'DecimalExponent' ? '' : suffix);
    return `${text}e${exponent}`;
  }
  return `${sign}${amount}n`;
}

function toNano(quantity: QuantityLike): bigint {
  if (quantity === undefined) return 0n;
  return typeof quantity === 'bigint' ? quantity : parseQuantity(quantity);
}

function formatOf(text: string | undefined): QuantityFormat {
  if (text?.endsWith('i')) return 'BinarySI';
  return text !== undefined && /[eE][+-]?\d/.test(text) ? 'DecimalExponent' : 'DecimalSI';
}

function parse(text: string): bigint {
  const match = pattern.exec(text);
  const whole = match?.[2] ?? '';
  const fraction = match?.[3] ?? '';
  if (!match || whole + fraction === '') {
    throw new Error(
      `"${text}" is not a quantity: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
    );
  }
  const digits = BigInt(whole + fraction);
  const suffix = match[4] ?? '';
  const bits = binary[suffix];
  const exponent =
    9 - fraction.length + (bits === undefined ? (match[5] ? Number(match[5]) : (decimal[suffix] ?? 0)) : 0);
  const scaled = bits === undefined ? digits : digits << BigInt(bits);
  // Beyond any number that a 64-bit API can hold the exact power no longer matters, only that it is not computed.
  const magnitude =
    exponent >= 0
      ? scaled * 10n ** BigInt(Math.min(exponent, 60))
      : divideUp(scaled, 10n ** BigInt(Math.min(-exponent, whole.length + fraction.length + 60)));
  return match[1] === '-' ? -magnitude : magnitude;
}

/** Division that rounds away from zero. */
function divideUp(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  if (value % divisor === 0n) return quotient;
  return value > 0n ? quotient + 1n : quotient - 1n;
}

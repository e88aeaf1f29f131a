// SPDX-License-Identifier: Apache-2.0
// Times as the API writes them: RFC 3339 in UTC, `Time` with whole seconds and `MicroTime` with six digits.

const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)$/;
const LAYOUT = '2006-01-02T15:04:05Z07:00';
const MICRO_LAYOUT = '2006-01-02T15:04:05.000000Z07:00';

/**
 * `2024-05-01T10:00:00.5+02:00` -> `2024-05-01T08:00:00Z`; undefined for the zero time.
 * @throws Error with Go's wording when the text is no time.
 */
export function canonicalTime(text: string): string | undefined {
  // The form that we and Go write ourselves, and so the one that nearly always comes.
  if (text.length === 20 && text.endsWith('Z') && TIME.test(text) && !Number.isNaN(Date.parse(text))) {
    return text === '0001-01-01T00:00:00Z' ? undefined : text;
  }
  const { milliseconds } = parse(text, LAYOUT);
  return timeOfSeconds(Math.floor(milliseconds / 1000));
}

/** Same for MicroTime: `2024-05-01T10:00:00.123456789Z` -> `2024-05-01T10:00:00.123456Z`. */
export function canonicalMicroTime(text: string): string | undefined {
  const { milliseconds, fraction } = parse(text, MICRO_LAYOUT);
  return microTimeOf(Math.floor(milliseconds / 1000), Number(fraction.padEnd(9, '0').slice(0, 9)));
}

/** Seconds since the epoch as the API writes them; undefined for Go's zero time. */
export function timeOfSeconds(seconds: number): string | undefined {
  const text = new Date(seconds * 1000).toISOString();
  return text.startsWith('0001-01-01T00:00:00') ? undefined : `${text.slice(0, 19)}Z`;
}

export function microTimeOf(seconds: number, nanoseconds: number): string | undefined {
  const time = timeOfSeconds(seconds);
  if (time === undefined) return undefined;
  return `${time.slice(0, 19)}.${String(Math.floor(nanoseconds / 1000)).padStart(6, '0')}Z`;
}

function parse(text: string, layout: string): { milliseconds: number; fraction: string } {
  const match = TIME.exec(text);
  const milliseconds = match === null ? Number.NaN : Date.parse(`${text.slice(0, 19)}${match[8] ?? 'Z'}`);
  if (match === null || Number.isNaN(milliseconds)) {
    const quoted = JSON.stringify(text);
    throw new Error(`parsing time ${quoted} as "${layout}": cannot parse ${quoted} as "2006"`);
  }
  return { milliseconds, fraction: match[7] ?? '' };
}

// SPDX-License-Identifier: Apache-2.0
// Cron schedules: five fields, names, steps, the @hourly family and @every, in any time zone that the system knows.

export interface Schedule {
  /** The first moment after `time` at which the schedule fires, in milliseconds; undefined when there is none in 5 years. */
  next(time: number): number | undefined;
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const macros: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};
const minuteMs = 60_000;
const horizonYears = 5;

/** `timeZone` is an IANA name; UTC when absent. Errors: what is wrong with the schedule or the zone. */
export function parseSchedule(text: string, timeZone = 'UTC'): Schedule {
  const every = /^@every (\d+)(s|m|h)$/.exec(text.trim());
  if (every) {
    const period = Math.max(
      1000,
      Number(every[1]) * { s: 1000, m: minuteMs, h: 3_600_000 }[every[2] as 's' | 'm' | 'h'],
    );
    return { next: (time) => Math.floor(time / 1000) * 1000 + period };
  }
  const fields = (macros[text.trim().toLowerCase()] ?? text).trim().split(/\s+/);
  if (fields.length !== 5)
    throw new Error(`schedule "${text}" has ${fields.length} fields; it needs minute hour day month weekday`);
  const [minuteText = '', hourText = '', dayText = '', monthText = '', weekdayText = ''] = fields;
  const minute = parseField(minuteText, { low: 0, high: 59 });
  const hour = parseField(hourText, { low: 0, high: 23 });
  const day = parseField(dayText, { low: 1, high: 31 });
  const month = parseField(monthText, { low: 1, high: 12, names: months, offset: 1 });
  const weekday = parseField(weekdayText, { low: 0, high: 7, names: days, offset: 0 });
  if (weekday.has(7)) weekday.add(0);
  const anyDay = /^[*?]/.test(dayText);
  const anyWeekday = /^[*?]/.test(weekdayText);
  const clock = zoneClock(timeZone);
  const onDay = (local: LocalTime): boolean => {
    // With both restricted, either is enough; that is how cron has always been.
    const byDay = day.has(local.day);
    const byWeekday = weekday.has(local.weekday);
    return anyDay || anyWeekday ? byDay && byWeekday : byDay || byWeekday;
  };
  return {
    next(time) {
      let at = Math.floor(time / minuteMs) * minuteMs + minuteMs;
      const limit = at + horizonYears * 366 * 86_400_000;
      while (at <= limit) {
        const local = clock(at);
        if (!month.has(local.month) || !onDay(local)) {
          // On to the next local midnight; an hour's step near it keeps days of 23 and 25 hours right.
          const left = (24 - local.hour) * 60 - local.minute;
          at += Math.max(1, left > 180 ? left - 120 : Math.min(left, 60 - local.minute)) * minuteMs;
        } else if (!hour.has(local.hour)) at += (60 - local.minute) * minuteMs;
        else if (!minute.has(local.minute)) at += minuteMs;
        else return at;
      }
      return undefined;
    },
  };
}

interface LocalTime {
  readonly minute: number;
  readonly hour: number;
  readonly day: number;
  readonly month: number;
  readonly weekday: number;
}

function zoneClock(timeZone: string): (time: number) => LocalTime {
  if (timeZone === 'UTC' || timeZone === 'Etc/UTC') {
    return (time) => {
      const date = new Date(time);
      return {
        minute: date.getUTCMinutes(),
        hour: date.getUTCHours(),
        day: date.getUTCDate(),
        month: date.getUTCMonth() + 1,
        weekday: date.getUTCDay(),
      };
    };
  }
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      minute: 'numeric',
      hour: 'numeric',
      day: 'numeric',
      month: 'numeric',
      weekday: 'short',
    });
  } catch {
    throw new Error(`unknown time zone ${timeZone}`);
  }
  return (time) => {
    const parts = Object.fromEntries(format.formatToParts(time).map(({ type, value }) => [type, value]));
    return {
      minute: Number(parts['minute']),
      hour: Number(parts['hour']),
      day: Number(parts['day']),
      month: Number(parts['month']),
      weekday: days.indexOf((parts['weekday'] ?? '').toLowerCase()),
    };
  };
}

function parseField(
  text: string,
  range: { low: number; high: number; names?: readonly string[]; offset?: number },
): Set<number> {
  const values = new Set<number>();
  const bad = (): Error => new Error(`"${text}" is not a valid cron field; values are ${range.low} to ${range.high}`);
  const value = (word: string): number => {
    const named = range.names?.indexOf(word.toLowerCase()) ?? -1;
    if (named >= 0) return named + (range.offset ?? 0);
    if (!/^\d{1,2}$/.test(word)) throw bad();
    const number = Number(word);
    if (number < range.low || number > range.high) throw bad();
    return number;
  };
  for (const part of text.split(',')) {
    const match = /^(\*|\?|[^/-]+)(?:-([^/]+))?(?:\/(\d{1,3}))?$/.exec(part);
    if (!match?.[1]) throw bad();
    const all = match[1] === '*' || match[1] === '?';
    if (all && match[2] !== undefined) throw bad();
    const first = all ? range.low : value(match[1]);
    const last = match[2] !== undefined ? value(match[2]) : all || match[3] ? range.high : first;
    const step = Number(match[3] ?? 1);
    if (step === 0 || first > last) throw bad();
    for (let number = first; number <= last; number += step) values.add(number);
  }
  return values;
}

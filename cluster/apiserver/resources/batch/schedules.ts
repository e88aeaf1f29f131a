// SPDX-License-Identifier: Apache-2.0
// Syntax of cron schedules, as far as it can be wrong. When a schedule is due is the CronJob controller's matter.
const bounds = [
  { name: 'minute', least: 0, most: 59 },
  { name: 'hour', least: 0, most: 23 },
  { name: 'day of month', least: 1, most: 31 },
  { name: 'month', least: 1, most: 12 },
  { name: 'day of week', least: 0, most: 6 },
] as const;
const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const descriptors = new Set(['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly']);
const goDuration = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/;

/** What is wrong with a schedule; undefined for a good one. */
export function scheduleError(schedule: string): string | undefined {
  if (schedule === '') {
    return 'empty spec string';
  }
  if (schedule.startsWith('@')) {
    const every = /^@every (.*)$/.exec(schedule)?.[1];
    if (every !== undefined) {
      return goDuration.test(every) ? undefined : `failed to parse duration ${schedule}`;
    }
    return descriptors.has(schedule) ? undefined : `unrecognized descriptor: ${schedule}`;
  }
  const fields = schedule.trim().split(/\s+/);
  if (fields.length !== bounds.length) {
    return `expected exactly 5 fields, found ${fields.length}: [${fields.join(' ')}]`;
  }
  for (const [index, field] of fields.entries()) {
    for (const part of field.split(',')) {
      const found = partError(part, index);
      if (found !== undefined) {
        return found;
      }
    }
  }
  return undefined;
}

function partError(part: string, index: number): string | undefined {
  const { least, most } = bounds[index] ?? bounds[0];
  const [range = '', step, ...more] = part.split('/');
  if (more.length > 0) {
    return `too many slashes: ${part}`;
  }
  if (step !== undefined && (!/^\d+$/.test(step) || Number(step) === 0)) {
    return `step of range should be a positive number: ${part}`;
  }
  if (range === '*' || range === '?') {
    return undefined;
  }
  const [low = '', high, ...rest] = range.split('-');
  if (rest.length > 0) {
    return `too many hyphens: ${part}`;
  }
  const start = valueOf(low, index);
  const end = high === undefined ? start : valueOf(high, index);
  if (Number.isNaN(start) || Number.isNaN(end)) {
    return `failed to parse int from ${Number.isNaN(start) ? low : high}: strconv.Atoi: parsing ${JSON.stringify(Number.isNaN(start) ? low : high)}: invalid syntax`;
  }
  if (start < least) {
    return `beginning of range (${start}) below minimum (${least}): ${part}`;
  }
  if (end > most) {
    return `end of range (${end}) above maximum (${most}): ${part}`;
  }
  return start > end ? `beginning of range (${start}) beyond end of range (${end}): ${part}` : undefined;
}

function valueOf(text: string, index: number): number {
  const names = index === 3 ? months : index === 4 ? days : [];
  const at = names.indexOf(text.toLowerCase());
  if (at >= 0) {
    return index === 3 ? at + 1 : at;
  }
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

// SPDX-License-Identifier: Apache-2.0
// Command-line flags as Kubernetes components take them: `--name=value`, `--name value`, `--boolean`. A flag that is not
// declared is an error that names the nearest declared one.

export interface Flag {
  /** `list` is comma-separated and repeatable; `map` is `a=b,c=d`; `duration` is Go's (`1m30s`) and becomes milliseconds. */
  readonly type: 'string' | 'boolean' | 'number' | 'list' | 'map' | 'duration';
  readonly description: string;
  readonly default?: string | boolean | number | readonly string[] | Readonly<Record<string, string>>;
  readonly required?: boolean;
}

type FlagValue<F extends Flag> = F['type'] extends 'boolean'
  ? boolean
  : F['type'] extends 'number' | 'duration'
    ? number
    : F['type'] extends 'list'
      ? string[]
      : F['type'] extends 'map'
        ? Record<string, string>
        : string;

type AlwaysSet = { default: unknown } | { required: true } | { type: 'boolean' | 'list' | 'map' };

/** A flag is always there when it has a default, is required, or is a boolean, list or map. */
export type Flags<S extends Readonly<Record<string, Flag>>> = {
  [K in keyof S]: FlagValue<S[K]> | (S[K] extends AlwaysSet ? never : undefined);
};

/** Wrong use of the command line; `main` prints the message and exits with 1. */
export class FlagError extends Error {
  override readonly name = 'FlagError';
}

/** `argv` without the interpreter and the script. Errors: `FlagError`; for `--help` its message is the usage. */
export function parseFlags<const S extends Readonly<Record<string, Flag>>>(argv: readonly string[], spec: S): Flags<S> {
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(spec)) {
    if (flag.type === 'list') values[name] = [...((flag.default as readonly string[] | undefined) ?? [])];
    else if (flag.type === 'map') values[name] = { ...(flag.default as Record<string, string> | undefined) };
    else if (flag.type === 'duration' && flag.default !== undefined)
      values[name] = parseDuration(String(flag.default), name);
    else values[name] = flag.default ?? (flag.type === 'boolean' ? false : undefined);
  }
  const given = new Set<string>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? '';
    if (argument === '--help' || argument === '-h') throw new FlagError(usage(spec));
    const match = /^--?([^=]+)(?:=([\s\S]*))?$/.exec(argument);
    if (!match?.[1]) throw new FlagError(`unexpected argument "${argument}": every argument is a --flag`);
    const name = match[1];
    const flag = Object.hasOwn(spec, name) ? spec[name] : undefined;
    if (!flag) throw new FlagError(`unknown flag: --${name}${nearest(name, Object.keys(spec))}; --help lists all`);
    let text = match[2];
    if (text === undefined) {
      if (flag.type === 'boolean') text = 'true';
      else if (index + 1 < argv.length) text = argv[++index] ?? '';
      else throw new FlagError(`flag --${name} needs a value (${flag.type}): ${flag.description}`);
    }
    values[name] = merge({ flag, name, text, earlier: given.has(name) ? values[name] : undefined });
    given.add(name);
  }
  for (const [name, flag] of Object.entries(spec)) {
    if (flag.required && values[name] === undefined)
      throw new FlagError(`flag --${name} is required: ${flag.description}`);
  }
  return values as Flags<S>;
}

/** Milliseconds of a Go duration such as `300ms`, `1m30s`, `1.5h`, `-2s` or `0`. */
export function parseDuration(text: string, flag = 'duration'): number {
  const units: Readonly<Record<string, number>> = {
    ns: 1e-6,
    us: 1e-3,
    µs: 1e-3,
    ms: 1,
    s: 1000,
    m: 60_000,
    h: 3_600_000,
  };
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+|0)$/.exec(text);
  if (!match) throw new FlagError(`--${flag}: "${text}" is not a duration; write it like 300ms, 40s or 1m30s`);
  let total = 0;
  for (const [, amount, unit] of (match[2] ?? '').matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * (units[unit ?? 's'] ?? 0);
  }
  return match[1] === '-' ? -total : total;
}

function merge(options: { flag: Flag; name: string; text: string; earlier: unknown }): unknown {
  const { flag, name, text, earlier } = options;
  switch (flag.type) {
    case 'string':
      return text;
    case 'boolean': {
      if (!/^(true|false|1|0|t|f)$/i.test(text)) throw new FlagError(`--${name}: "${text}" is not true or false`);
      return /^(true|1|t)$/i.test(text);
    }
    case 'number': {
      const number = Number(text);
      if (text.trim() === '' || !Number.isFinite(number)) throw new FlagError(`--${name}: "${text}" is not a number`);
      return number;
    }
    case 'duration':
      return parseDuration(text, name);
    case 'list':
      return [...((earlier as string[] | undefined) ?? []), ...text.split(',').filter((item) => item !== '')];
    case 'map': {
      const map: Record<string, string> = { ...(earlier as Record<string, string> | undefined) };
      for (const pair of text.split(',').filter((item) => item !== '')) {
        const at = pair.indexOf('=');
        if (at < 1) throw new FlagError(`--${name}: "${pair}" is not key=value`);
        Object.defineProperty(map, pair.slice(0, at), {
          value: pair.slice(at + 1),
          enumerable: true,
          writable: true,
          configurable: true,
        });
      }
      return map;
    }
  }
}

function usage(spec: Readonly<Record<string, Flag>>): string {
  const lines = Object.entries(spec).map(([name, flag]) => {
    const preset = flag.default === undefined ? '' : ` (default ${JSON.stringify(flag.default)})`;
    return `  --${name} ${flag.type === 'boolean' ? '' : flag.type}\n        ${flag.description}${preset}`;
  });
  return `Flags:\n${lines.join('\n')}`;
}

function nearest(name: string, names: readonly string[]): string {
  const close = names
    .map((candidate) => ({ candidate, distance: distance(name, candidate) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
  return close && close.distance <= 3 ? ` (did you mean --${close.candidate}?)` : '';
}

/** Levenshtein distance; names are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

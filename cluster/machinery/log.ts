// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr in klog's shape, so that tools which read Kubernetes' logs read ours:
//   I1121 13:52:11.123456    4711 endpointslice] "synced" service="default/web" took="3ms"

type Fields = Readonly<Record<string, unknown>>;

export interface Logger {
  /** Detail that is printed only from `--v=2` up. */
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  /** An `Error` as the second argument is printed as `err=`. */
  error(message: string, error?: unknown, fields?: Fields): void;
}

let verbosity = 0;

/** Sets the process's verbosity (`--v`); `debug` prints from 2. */
export function setVerbosity(level: number): void {
  verbosity = level;
}

export function logger(component: string): Logger {
  const write = (level: string, message: string, fields: Fields | undefined): void => {
    process.stderr.write(formatLine({ level, component, message, now: new Date(), fields }));
  };
  return {
    debug(message, fields) {
      if (verbosity >= 2) write('I', message, fields);
    },
    info: (message, fields) => write('I', message, fields),
    warn: (message, fields) => write('W', message, fields),
    error: (message, error, fields) =>
      write('E', message, error === undefined ? fields : { err: describeError(error), ...fields }),
  };
}

/** One line of what went wrong, including the causes that Node hides in `cause` and AggregateError. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts = [error.message || ('code' in error ? String(error.code) : error.name)];
  if (error instanceof AggregateError) parts.push(...error.errors.map(describeError));
  if (error.cause !== undefined) parts.push(describeError(error.cause));
  return parts.join(': ');
}

export function formatLine(line: {
  level: string;
  component: string;
  message: string;
  now: Date;
  fields?: Fields | undefined;
}): string {
  const { now } = line;
  const date = two(now.getMonth() + 1) + two(now.getDate());
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  const micro = String(now.getMilliseconds()).padStart(3, '0') + '000';
  let text = `${line.level}${date} ${time}.${micro} ${String(process.pid).padStart(7)} ${line.component}] `;
  text += JSON.stringify(line.message);
  for (const [key, value] of Object.entries(line.fields ?? {})) {
    if (value === undefined) continue;
    text += ` ${key}=${typeof value === 'number' || typeof value === 'boolean' ? value : quote(value)}`;
  }
  return text + '\n';
}

function quote(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(describeError(value));
  return JSON.stringify(typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)));
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

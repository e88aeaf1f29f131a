// SPDX-License-Identifier: Apache-2.0
// /healthz, /livez and /readyz: one line per check when something is wrong or `?verbose` is given.
import type { Exchange } from './exchange.ts';

export interface HealthCheck {
  readonly name: string;
  /** Rejects when the check fails. */
  readonly check: () => Promise<void>;
}

const textType = 'text/plain; charset=utf-8';

/** False when the path names a check that there is not. */
export async function serveHealth(exchange: Exchange, checks: readonly HealthCheck[]): Promise<boolean> {
  const [, endpoint = '', only] = exchange.path.split('/');
  const excluded = new Set(exchange.query.getAll('exclude'));
  const wanted = checks.filter(({ name }) => (only === undefined || name === only) && !excluded.has(name));
  if (only !== undefined && wanted.length === 0) {
    return false;
  }
  const results = await Promise.allSettled(wanted.map(({ check }) => check()));
  const failed = results.some(({ status }) => status === 'rejected');
  const lines = wanted.map(({ name }, at) =>
    results[at]?.status === 'fulfilled' ? `[+]${name} ok` : `[-]${name} failed: reason withheld`,
  );
  const verbose = failed || exchange.query.has('verbose');
  const text = verbose ? `${lines.join('\n')}\n${endpoint} check ${failed ? 'failed' : 'passed'}\n` : 'ok';
  exchange.respond(failed ? 500 : 200, textType, Buffer.from(text));
  return true;
}

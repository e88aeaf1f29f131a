// SPDX-License-Identifier: Apache-2.0
/** Says what a thrown value means: a statement about the cluster, a skip, or a prober or connection that broke. Pure. */
import { inspect } from 'node:util';
import { ApiException } from '@kubernetes/client-node';
import { messageOf } from '../problem.ts';
import type { CaseError } from '../results/events.ts';
import { statusMessage } from '../target/discovery.ts';

/** Thrown by `t.skip`. */
export class SkipCase extends Error {
  override readonly name = 'SkipCase';
}

/** The run was interrupted while the case was going on. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** The deadline of the case. A statement about the cluster: it did not get there in time. */
export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded';
}

const transportCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

/** True where nothing about the cluster can be concluded: worth another attempt. */
export function isInconclusive(error: unknown): boolean {
  for (let current: unknown = error, depth = 0; current !== undefined && current !== null && depth < 8; depth++) {
    if (typeof current !== 'object') return false;
    if ('inconclusive' in current && current.inconclusive === true) return true;
    // A chai assertion about a connection error is a statement, whatever caused it.
    if ('name' in current && current.name === 'AssertionError') return false;
    if ('code' in current && typeof current.code === 'string' && transportCodes.has(current.code)) return true;
    current = 'cause' in current ? current.cause : undefined;
  }
  return false;
}

export function describeError(error: unknown, step: string | undefined): CaseError {
  const thrown =
    error instanceof Error ? error : new Error(`something that is not an Error was thrown: ${inspect(error)}`);
  const stack = cleanStack(thrown.stack);
  return {
    name: thrown.name,
    message: readableMessage(thrown),
    ...(stack === undefined ? {} : { stack }),
    ...(step === undefined ? {} : { step }),
    ...comparison(thrown),
  };
}

/** client-node puts code, body and all headers into the message; the Status's own message says it better. */
export function readableMessage(error: unknown): string {
  if (error instanceof ApiException) {
    const body: unknown = error.body;
    const text =
      typeof body === 'string'
        ? statusMessage(body)
        : typeof body === 'object' && body !== null && 'message' in body
          ? String(body.message)
          : inspect(body);
    return `the API server answered ${error.code}: ${text}`;
  }
  return messageOf(error);
}

function comparison(error: Error): { expected?: string; actual?: string } {
  const compared = error as Error & { expected?: unknown; actual?: unknown; showDiff?: unknown };
  if (compared.showDiff !== true && !('expected' in compared && 'actual' in compared)) return {};
  if (compared.expected === undefined && compared.actual === undefined) return {};
  return { expected: shown(compared.expected), actual: shown(compared.actual) };
}

function shown(value: unknown): string {
  const text =
    typeof value === 'string'
      ? value
      : inspect(value, { depth: 8, breakLength: 100, maxArrayLength: 200, sorted: true });
  return text.length > 8000 ? `${text.slice(0, 8000)}\n... (${text.length} characters)` : text;
}

/** Only frames of cases and probes, relative to the project: the engine's own say nothing about the cluster. */
function cleanStack(stack: string | undefined): string | undefined {
  const root = new URL('../../', import.meta.url).href;
  const frames = (stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line) && !/node_modules|node:|\/runner\//.test(line))
    .map((line) => line.replaceAll(root, '').trim())
    .slice(0, 8);
  return frames.length === 0 ? undefined : frames.join('\n');
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Decodes `events.jsonl`, which may come from anywhere: cut off, from a newer version, or not ours at all. Lines that are not events are
 * counted, unknown event types and fields are passed over; a file without a run of a known schema is an error.
 */
import { caseStatuses, schemaVersion, verdicts, type ResultEvent } from './events.ts';

export interface DecodedEvents {
  readonly events: ResultEvent[];
  /** Lines that could not be understood, the cut-off last one included. */
  readonly unreadable: number;
}

type Kind = 'string' | 'number' | 'boolean' | 'strings' | 'objects' | 'object' | readonly string[];

const identified = { time: 'string', caseId: 'string' } as const;

/** Required fields by event type. What is optional is checked where it is used, as it may be missing anyway. */
const required: Readonly<Record<ResultEvent['type'], Readonly<Record<string, Kind>>>> = {
  'run-started': {
    time: 'string',
    schema: 'number',
    runId: 'string',
    uuid: 'string',
    toolVersion: 'string',
    mode: 'string',
    parallel: 'number',
    target: 'object',
    image: 'string',
  },
  'cluster-observed': {
    time: 'string',
    uid: 'string',
    serverVersion: 'string',
    platform: 'string',
    nodes: 'objects',
    features: 'object',
  },
  'preflight-checked': {
    time: 'string',
    name: 'string',
    status: ['ok', 'warning', 'failed'],
    message: 'string',
    durationMs: 'number',
  },
  'plan-made': { time: 'string', cases: 'objects' },
  'case-started': { ...identified, attempt: 'number' },
  'step-finished': { ...identified, name: 'string', passed: 'boolean', durationMs: 'number' },
  'evidence-attached': {
    ...identified,
    attempt: 'number',
    file: 'string',
    mediaType: 'string',
    bytes: 'number',
    role: ['explanation', 'detail'],
  },
  'figure-measured': { ...identified, name: 'string', value: 'number', unit: 'string' },
  'case-retried': { ...identified, attempt: 'number', reason: 'string' },
  'flake-observed': { ...identified, what: 'string' },
  'case-finished': {
    ...identified,
    status: caseStatuses,
    attempts: 'number',
    startedAt: 'string',
    durationMs: 'number',
  },
  'message-logged': { time: 'string', level: ['debug', 'info', 'warning', 'error'], message: 'string' },
  'cluster-disturbed': { time: 'string', what: 'string', subject: 'string', message: 'string' },
  'snapshot-section': { time: 'string', name: 'string', files: 'number', durationMs: 'number' },
  'cleaned-up': { time: 'string', deleted: 'number', left: 'strings' },
  'run-finished': { time: 'string', verdict: verdicts, interrupted: 'boolean', durationMs: 'number' },
};

const caseFields: Readonly<Record<string, Kind>> = {
  id: 'string',
  area: 'string',
  title: 'string',
  description: 'string',
  requirements: 'strings',
  modes: 'strings',
  needs: 'strings',
  serial: 'boolean',
  timeoutMs: 'number',
};

const nodeFields: Readonly<Record<string, Kind>> = {
  name: 'string',
  ready: 'boolean',
  roles: 'strings',
  kubeletVersion: 'string',
  containerRuntime: 'string',
  osImage: 'string',
  kernel: 'string',
  architecture: 'string',
  internalIps: 'strings',
  cpu: 'string',
  memory: 'string',
};

export function decodeEvents(text: string): DecodedEvents {
  const events: ResultEvent[] = [];
  let unreadable = 0;
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const event = decodeEvent(line);
    if (event === 'unreadable') unreadable++;
    else if (event !== undefined) events.push(event);
  }
  const start = events.find((event) => event.type === 'run-started');
  if (start === undefined) throw new Error('there is no run-started event: this is not the record of a run');
  if (start.schema > schemaVersion) {
    throw new Error(
      `the record has schema ${start.schema}, this version reads up to ${schemaVersion}: use a newer plumb`,
    );
  }
  return { events, unreadable };
}

/** An event, undefined for a type that this version does not know, or 'unreadable'. */
function decodeEvent(line: string): ResultEvent | undefined | 'unreadable' {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return 'unreadable';
  }
  if (!isObject(value) || typeof value['type'] !== 'string') return 'unreadable';
  if (!Object.hasOwn(required, value['type'])) return undefined;
  const fields = required[value['type'] as ResultEvent['type']];
  return hasFields(value, fields) && nestedAreWhole(value) ? (value as unknown as ResultEvent) : 'unreadable';
}

function nestedAreWhole(value: Readonly<Record<string, unknown>>): boolean {
  const all = (list: unknown, fields: Readonly<Record<string, Kind>>): boolean =>
    (list as Record<string, unknown>[]).every((item) => hasFields(item, fields));
  switch (value['type']) {
    case 'plan-made':
      return all(value['cases'], caseFields);
    case 'cluster-observed':
      return (
        all(value['nodes'], nodeFields) &&
        all(Object.values(value['features'] as object), { present: 'boolean', detail: 'string' })
      );
    case 'run-started':
      return hasFields(value['target'] as Record<string, unknown>, {
        server: 'string',
        context: 'string',
        embedded: 'boolean',
      });
    case 'case-finished':
      return (
        (value['error'] === undefined ||
          (isObject(value['error']) && hasFields(value['error'], { name: 'string', message: 'string' }))) &&
        (value['troubles'] === undefined || is(value['troubles'], 'strings'))
      );
    case 'evidence-attached':
      return isInside(String(value['file']));
    default:
      return true;
  }
}

/** A path from an untrusted record must not lead out of the results directory. */
function isInside(path: string): boolean {
  return !path.startsWith('/') && !path.includes('\\') && !path.split('/').includes('..');
}

function hasFields(value: unknown, fields: Readonly<Record<string, Kind>>): boolean {
  return isObject(value) && Object.entries(fields).every(([name, kind]) => is(value[name], kind));
}

function is(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case 'string':
    case 'boolean':
      return typeof value === kind;
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    case 'object':
      return isObject(value);
    case 'strings':
      return Array.isArray(value) && value.every((item) => typeof item === 'string');
    case 'objects':
      return Array.isArray(value) && value.every(isObject);
    default:
      return typeof value === 'string' && kind.includes(value);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

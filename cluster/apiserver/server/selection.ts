// SPDX-License-Identifier: Apache-2.0
// Label and field selectors of lists, watches and deletecollection, as one predicate over stored entries.
import type { FieldRequirement, Requirement } from '../../machinery/selectors.ts';
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '../../machinery/selectors.ts';
import { badRequest } from '../status.ts';
import type { Entry } from '../store/entry.ts';
import type { Served } from './catalog.ts';

export interface Selection {
  /** Empty for all. */
  readonly namespace: string;
  /** The one name that a field selector asks for. */
  readonly name: string | undefined;
  /** Whether labels or fields restrict at all. */
  readonly everything: boolean;
  /** Does not look at the namespace. */
  matches(entry: Entry): boolean;
}

/** Throws 400 for what cannot be parsed and for fields that cannot be selected by. */
export function selection(served: Served, namespace: string, query: URLSearchParams): Selection {
  const labels = parse(() => parseLabelSelector(query.get('labelSelector') ?? ''));
  const fields = parse(() => parseFieldSelector(query.get('fieldSelector') ?? ''));
  let wantedNamespace = namespace;
  let name: string | undefined;
  const others: FieldRequirement[] = [];
  for (const field of fields) {
    if (field.operator === '=' && field.field === 'metadata.name') {
      name = field.value;
    } else if (field.operator === '=' && field.field === 'metadata.namespace' && namespace === '') {
      wantedNamespace = field.value;
    }
    others.push(field);
  }
  checkFields(served, others);
  return {
    namespace: wantedNamespace,
    name,
    everything: labels.length === 0 && others.length === 0,
    matches: predicate(served, labels, others),
  };
}

function fieldsOf({ definition, version, id, storedAs }: Served, entry: Entry): Readonly<Record<string, string>> {
  const own = { 'metadata.name': entry.name, 'metadata.namespace': entry.namespace };
  if (version.selectableFields === undefined && id === storedAs) {
    entry.fields ??= { ...definition.selectableFields?.(entry.object), ...own };
    return entry.fields;
  }
  entry.versionFields ??= new Map();
  let fields = entry.versionFields.get(version);
  if (fields === undefined) {
    const found =
      version.selectableFields === undefined
        ? definition.selectableFields?.(entry.object)
        : version.selectableFields(version.fromStorage?.(entry.object) ?? entry.object);
    fields = { ...found, ...own };
    entry.versionFields.set(version, fields);
  }
  return fields;
}

function predicate(
  served: Served,
  labels: readonly Requirement[],
  fields: readonly FieldRequirement[],
): (entry: Entry) => boolean {
  if (fields.length === 0) {
    return labels.length === 0 ? () => true : (entry) => matchesLabels(labels, entry.object.metadata.labels);
  }
  return (entry) =>
    matchesFields(fields, fieldsOf(served, entry)) && matchesLabels(labels, entry.object.metadata.labels);
}

function checkFields({ definition, version }: Served, fields: readonly FieldRequirement[]): void {
  const unknown = fields.filter(({ field }) => field !== 'metadata.name' && field !== 'metadata.namespace');
  if (unknown.length === 0) {
    return;
  }
  const probe = { apiVersion: '', kind: definition.kind, metadata: { name: '' }, spec: {}, status: {} };
  const known = (version.selectableFields ?? definition.selectableFields)?.(probe) ?? {};
  for (const { field } of unknown) {
    if (!Object.hasOwn(known, field)) {
      throw badRequest(
        `Unable to find "${definition.plural}" that match label selector "", field selector "${field}": field label not supported: ${field}`,
      );
    }
  }
}

function parse<T>(parser: () => T): T {
  try {
    return parser();
  } catch (error) {
    throw badRequest((error as Error).message);
  }
}

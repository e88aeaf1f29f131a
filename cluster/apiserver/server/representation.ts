// SPDX-License-Identifier: Apache-2.0
// Objects and lists in the form that a client asked for. The plain form is assembled from the bytes of the cache; tables and
// metadata-only forms are made anew. Pure.
import type { Column, KubeObject } from '../resources/definition.ts';
import type { Entry } from '../store/entry.ts';
import type { Served } from './catalog.ts';
import { toServed } from './core.ts';
import type { Representation } from './negotiation.ts';

export interface ListMetadata {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

const comma = Buffer.from(',');
const listEnd = Buffer.from(']}');
const defaultColumns: readonly Column[] = [
  { name: 'Name', type: 'string', format: 'name', description: 'Name must be unique within a namespace.' },
  { name: 'Age', type: 'date', description: 'Time since creation.' },
];

/** `includeObject` is kubectl's query parameter for tables: None, Metadata (the default) or Object. */
export interface View {
  readonly served: Served;
  readonly representation: Representation;
  readonly includeObject: string;
}

/** One object as bytes. */
export function encodeEntry(view: View, entry: Entry): Buffer {
  if (view.representation.kind === 'object' && view.served.asStored) {
    return entry.bytes;
  }
  return encodeObject(view, entry.object);
}

export function encodeObject(view: View, stored: KubeObject): Buffer {
  return Buffer.from(JSON.stringify(represent(view, stored)));
}

export function encodeList(view: View, entries: readonly Entry[], metadata: ListMetadata): Buffer {
  const { served, representation } = view;
  if (representation.kind === 'table') {
    const table = tableOf(
      view,
      entries.map((entry) => entry.object),
      metadata,
    );
    return Buffer.from(JSON.stringify(table));
  }
  const kind = representation.kind === 'object' ? `${served.definition.kind}List` : 'PartialObjectMetadataList';
  const apiVersion = representation.kind === 'object' ? served.apiVersion : `meta.k8s.io/${representation.version}`;
  const head = `{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)},"metadata":${JSON.stringify(metadata)},"items":[`;
  const parts: Buffer[] = [Buffer.from(head)];
  for (let at = 0; at < entries.length; at += 1) {
    if (at > 0) {
      parts.push(comma);
    }
    parts.push(encodeEntry(view, entries[at] as Entry));
  }
  parts.push(listEnd);
  return Buffer.concat(parts);
}

function represent(view: View, stored: KubeObject): object {
  switch (view.representation.kind) {
    case 'object':
      return toServed(view.served, stored);
    case 'metadata':
      return partialMetadata(stored, view.representation.version);
    case 'table':
      return tableOf(view, [stored], { resourceVersion: stored.metadata.resourceVersion ?? '' });
  }
}

function partialMetadata(object: KubeObject, version: string): object {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}

function tableOf(view: View, objects: readonly KubeObject[], metadata: ListMetadata): object {
  const { definition } = view.served;
  const now = Date.now();
  const version = view.representation.kind === 'table' ? view.representation.version : 'v1';
  const columns = definition.columns ?? defaultColumns;
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${version}`,
    metadata,
    columnDefinitions: columns.map((column) => ({
      name: column.name,
      type: column.type === 'date' ? 'string' : column.type,
      format: column.format ?? (column.name === 'Name' ? 'name' : ''),
      description: column.description ?? '',
      priority: column.priority ?? 0,
    })),
    rows: objects.map((object) => ({
      cells: definition.cells?.(object, now) ?? [object.metadata.name, object.metadata.creationTimestamp],
      object: rowObject(view, object, version),
    })),
  };
}

function rowObject(view: View, object: KubeObject, version: string): object | null {
  switch (view.includeObject) {
    case 'None':
      return null;
    case 'Object':
      return toServed(view.served, object);
    default:
      return partialMetadata(object, version);
  }
}

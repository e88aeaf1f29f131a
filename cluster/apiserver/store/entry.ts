// SPDX-License-Identifier: Apache-2.0
// One stored object, held once parsed and once as the bytes that are sent to clients. etcd holds the object without its
// resourceVersion, which is etcd's own revision of the key; the bytes get it spliced in, so nothing is serialised twice.
import type { KubeObject, ResourceVersion } from '../resources/definition.ts';

export interface Entry {
  readonly key: string;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  /** Never to be changed. */
  readonly object: KubeObject;
  /** The object as JSON, resourceVersion included. */
  readonly bytes: Buffer;
  /** Selectable fields, computed when first asked for. */
  fields?: Readonly<Record<string, string>>;
  /** Those of versions that have their own. */
  versionFields?: Map<ResourceVersion, Readonly<Record<string, string>>>;
}

const metadataStart = Buffer.from('"metadata":{');
const versionStart = Buffer.from('"metadata":{"resourceVersion":"');
const quote = 0x22;

/** The value for etcd: apiVersion, kind and metadata first, no resourceVersion. */
export function encodeStored(object: KubeObject): Buffer {
  const { apiVersion, kind, metadata, ...rest } = object;
  const { resourceVersion: _, ...meta } = metadata;
  return Buffer.from(JSON.stringify({ apiVersion, kind, metadata: meta, ...rest }));
}

/** Puts the resourceVersion into the bytes of a stored value. */
export function spliceRevision(stored: Uint8Array, revision: number): Buffer {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  const at = bytes.indexOf(metadataStart);
  if (at < 0) {
    throw new Error(`value without metadata: ${bytes.toString('utf8', 0, 80)}`);
  }
  const head = at + metadataStart.length;
  const comma = bytes[head] === 0x7d ? '' : ',';
  return Buffer.concat([
    bytes.subarray(0, head),
    Buffer.from(`"resourceVersion":"${revision}"${comma}`),
    bytes.subarray(head),
  ]);
}

/** Replaces the resourceVersion in bytes made by `spliceRevision`. */
export function replaceRevision(bytes: Buffer, revision: number): Buffer {
  const start = bytes.indexOf(versionStart) + versionStart.length;
  const end = bytes.indexOf(quote, start);
  return Buffer.concat([bytes.subarray(0, start), Buffer.from(String(revision)), bytes.subarray(end)]);
}

/** The object with another resourceVersion, sharing everything else. */
export function withRevision(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

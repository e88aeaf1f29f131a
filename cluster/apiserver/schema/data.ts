// SPDX-License-Identifier: Apache-2.0
// Layout of the committed schema data. `types.json` is generated (schema/generate), `types-extra.json` is written by hand
// for the API groups whose Go sources Debian does not carry.

/** Definition prefix, e.g. `io.k8s.api.core.v1`, to the package. */
export type SchemaData = Readonly<Record<string, PackageData>>;

export interface PackageData {
  readonly group: string;
  readonly version: string;
  readonly types: Readonly<Record<string, StructData | AliasData>>;
}

export interface StructData {
  readonly fields: readonly FieldData[];
  /** Structs whose fields appear in this one, with the protobuf number of the embedded message (0: not in protobuf). */
  readonly inline?: ReadonlyArray<readonly [name: string, protobuf: number]>;
  /** Has apiVersion and kind. */
  readonly object?: true;
  /** Server-side apply owns it as a whole. */
  readonly atomic?: true;
}

export interface AliasData {
  readonly alias: string;
  readonly enum?: readonly string[];
}

/**
 * Type texts: a scalar (`string bool int int32 int64 uint32 uint64 float32 float64 byte bytes any`), a well-known shape
 * (`time microTime duration quantity intOrString rawExtension fieldsV1 json`), `Name` of the same package, a full definition
 * name, `[]type`, or `map:type`. Flags: `r` required, `o` omitted when empty, `p` pointer in Go.
 */
export type FieldData =
  | readonly [json: string, type: string, flags: string, protobuf: number]
  | readonly [json: string, type: string, flags: string, protobuf: number, facts: FieldFacts];

export interface FieldFacts {
  readonly list?: 'atomic' | 'set' | 'map';
  readonly keys?: readonly string[];
  readonly atomic?: true;
  readonly mergeKey?: string;
  /** Comma-separated: `merge`, `replace`, `retainKeys`. */
  readonly strategy?: string;
  readonly default?: unknown;
}

/** Definition name to its description and those of its fields. */
export type DocsData = Readonly<Record<string, readonly [string, Readonly<Record<string, string>>]>>;

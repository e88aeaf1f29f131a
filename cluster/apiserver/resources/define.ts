// SPDX-License-Identifier: Apache-2.0
// Turns a declaration written against an object's own type into the `ResourceDefinition` that request handling knows, and
// adds what holds for every resource: rules of metadata, status kept from its owner, a default NAME and AGE table.
import type { ObjectMeta } from '../../machinery/api-types.ts';
import type {
  Column,
  FieldError,
  KubeObject,
  Registry,
  RequestContext,
  ResourceDefinition,
  ResourceVersion,
  ViewDefinition,
} from './definition.ts';
import { fillZeroValues } from './defaults/zero-values.ts';
import { ageColumn, nameColumn, type CellColumn } from './printing/columns.ts';
import { validateMetadata, validateMetadataUpdate } from './validation/metadata.ts';
import { dnsSubdomainName, type NameRule } from './validation/names.ts';

/** The parts of an object that `define` itself touches. */
export interface AnyObject {
  metadata: ObjectMeta;
}

export interface TypedView<T> {
  readonly prepareForUpdate?: (object: T, old: T, context: RequestContext) => void;
  readonly validateUpdate?: (object: T, old: T, context: RequestContext) => FieldError[];
}

/** What a declaration says of one resource; everything not named here is as in `ResourceDefinition`. */
export interface TypedDefinition<T> extends Pick<
  ResourceDefinition,
  | 'group'
  | 'plural'
  | 'kind'
  | 'namespaced'
  | 'shortNames'
  | 'categories'
  | 'verbs'
  | 'scale'
  | 'subresources'
  | 'storedAs'
> {
  /** Lower-case kind when absent. */
  readonly singular?: string;
  /** Served versions; a plain string names a version whose schema has the usual name. `['v1']` when absent. */
  readonly versions?: readonly [string | ResourceVersion, ...(string | ResourceVersion)[]];
  /** Schema of the stored form, for a resource with `storedAs`; that of the first version when absent. */
  readonly storedSchema?: string;
  /** Rule of `metadata.name`; a DNS subdomain when absent. */
  readonly nameRule?: NameRule;
  readonly default?: (object: T) => void;
  readonly prepareForCreate?: (object: T, context: RequestContext) => void;
  readonly prepareForUpdate?: (object: T, old: T, context: RequestContext) => void;
  readonly validate?: (object: T, context: RequestContext) => FieldError[];
  /** Rules of a change. The rules of `validate` apply as well unless `validateUpdateOnly` is set. */
  readonly validateUpdate?: (object: T, old: T, context: RequestContext) => FieldError[];
  readonly validateUpdateOnly?: boolean;
  /** Finalizers of these objects need no domain, as for all kinds that are not Kubernetes' own. */
  readonly freeFinalizers?: boolean;
  /** `true` for a status subresource without rules of its own. */
  readonly status?: true | TypedView<T>;
  /** Status of a new object; absent means that a new object has none. */
  readonly initialStatus?: (object: T) => unknown;
  readonly views?: Readonly<Record<string, TypedView<T>>>;
  readonly review?: (object: T, context: RequestContext) => Promise<T>;
  /** Rules of a review; its metadata is free. */
  readonly validateReview?: (object: T, context: RequestContext) => FieldError[];
  readonly allocate?: (object: T, old: T | undefined, context: RequestContext) => Promise<() => void>;
  readonly release?: (object: T, registry: Registry) => Promise<void>;
  readonly gracePeriodSeconds?: (object: T, requested: number | undefined) => number;
  readonly markForDeletion?: (object: T) => void;
  readonly finalizers?: (object: T) => readonly string[];
  readonly selectableFields?: (object: T) => Readonly<Record<string, string>>;
  /** Columns between NAME and AGE. */
  readonly columns?: readonly CellColumn<T>[];
  /** Columns behind AGE, mostly shown with `-o wide` only. */
  readonly wideColumns?: readonly CellColumn<T>[];
  /** Columns in full, for the few tables that do not begin with NAME or end with AGE. */
  readonly allColumns?: readonly CellColumn<T>[];
}

/** Builds the definition. The one cast from untyped objects to `T` is here: the schema has decoded them already. */
export function define<T extends AnyObject>(declared: TypedDefinition<T>): ResourceDefinition {
  const columns = declared.allColumns ?? [
    nameColumn<T>(),
    ...(declared.columns ?? []),
    ageColumn<T>(),
    ...(declared.wideColumns ?? []),
  ];
  const hasStatus = declared.status !== undefined;
  const nameRule = declared.nameRule ?? dnsSubdomainName;
  const freeFinalizers = declared.freeFinalizers === true;
  const versions = (declared.versions ?? ['v1']).map((version) =>
    typeof version === 'string' ? plainVersion(declared.group, version, declared.kind) : version,
  );
  const storageSchema = declared.storedSchema ?? versions[0]?.schema ?? '';
  const typed = {
    ...declared,
    singular: declared.singular ?? declared.kind.toLowerCase(),
    versions,
    default(object: T): void {
      fillZeroValues(storageSchema, object);
      declared.default?.(object);
    },
    prepareForCreate(object: T, context: RequestContext): void {
      if (hasStatus) {
        setStatus(object, declared.initialStatus?.(object));
      }
      declared.prepareForCreate?.(object, context);
    },
    prepareForUpdate(object: T, old: T, context: RequestContext): void {
      if (hasStatus) {
        setStatus(object, (old as { status?: unknown }).status);
      }
      declared.prepareForUpdate?.(object, old, context);
    },
    validate(object: T, context: RequestContext): FieldError[] {
      if (declared.review !== undefined) {
        return declared.validateReview?.(object, context) ?? [];
      }
      return [
        ...validateMetadata(object.metadata, { namespaced: declared.namespaced, nameRule, freeFinalizers }),
        ...(declared.validate?.(object, context) ?? []),
      ];
    },
    validateUpdate(object: T, old: T, context: RequestContext): FieldError[] {
      return [
        ...validateMetadataUpdate(object.metadata, old.metadata, { namespaced: declared.namespaced, freeFinalizers }),
        ...(declared.validateUpdateOnly === true ? [] : (declared.validate?.(object, context) ?? [])),
        ...(declared.validateUpdate?.(object, old, context) ?? []),
      ];
    },
    columns: columns.map(plainColumn),
    cells: (object: T, now: number): unknown[] => columns.map((column) => column.cell(object, now)),
    ...(declared.status !== undefined && {
      status: statusView(declared.status, { namespaced: declared.namespaced, freeFinalizers }),
    }),
  };
  return typed as unknown as ResourceDefinition;
}

function plainVersion(group: string, version: string, kind: string): ResourceVersion {
  const packageName = group === '' ? 'core' : group.slice(0, (group.indexOf('.') + 1 || group.length + 1) - 1);
  return { version, schema: `io.k8s.api.${packageName}.${version}.${kind}` };
}

function plainColumn<T>(column: CellColumn<T>): Column {
  const { name, type, format, description, priority } = column;
  return {
    name,
    type,
    ...(format !== undefined && { format }),
    ...(description !== undefined && { description }),
    ...(priority !== undefined && { priority }),
  };
}

function setStatus(object: object, status: unknown): void {
  const target = object as { status?: unknown };
  if (status === undefined) {
    delete target.status;
  } else {
    target.status = status;
  }
}

function statusView<T extends AnyObject>(
  declared: true | TypedView<T>,
  metadata: { readonly namespaced: boolean; readonly freeFinalizers: boolean },
): ViewDefinition {
  const own = declared === true ? undefined : declared;
  const view = {
    prepareForUpdate(object: T, old: T, context: RequestContext): void {
      keepAllBut(['status'], object, old);
      own?.prepareForUpdate?.(object, old, context);
    },
    validateUpdate(object: T, old: T, context: RequestContext): FieldError[] {
      return [
        ...validateMetadataUpdate(object.metadata, old.metadata, metadata),
        ...(own?.validateUpdate?.(object, old, context) ?? []),
      ];
    },
  };
  return view as unknown as ViewDefinition;
}

/** Puts back everything of `old` except metadata and the named top-level fields; owners stay as they were. */
export function keepAllBut(fields: readonly string[], object: AnyObject, old: AnyObject): void {
  const target = object as unknown as Record<string, unknown>;
  const source = old as unknown as Record<string, unknown>;
  for (const key of Object.keys(target)) {
    if (!isOwn(key, fields) && !(key in source)) {
      delete target[key];
    }
  }
  for (const key of Object.keys(source)) {
    if (!isOwn(key, fields)) {
      target[key] = source[key];
    }
  }
  if (old.metadata.ownerReferences === undefined) {
    delete object.metadata.ownerReferences;
  } else {
    object.metadata.ownerReferences = old.metadata.ownerReferences;
  }
}

function isOwn(key: string, fields: readonly string[]): boolean {
  return key === 'apiVersion' || key === 'kind' || key === 'metadata' || fields.includes(key);
}

/** Stored objects as their own type. */
export function typed<T extends AnyObject>(objects: readonly KubeObject[]): readonly T[] {
  return objects as unknown as readonly T[];
}

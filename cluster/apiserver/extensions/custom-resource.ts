// SPDX-License-Identifier: Apache-2.0
// Turns a CustomResourceDefinition into the resource definition that the request handlers serve.
import type {
  CustomResourceColumnDefinition,
  CustomResourceDefinition,
  CustomResourceDefinitionVersion,
} from '../../machinery/api-types.ts';
import type {
  FieldError,
  KubeObject,
  Registry,
  RequestContext,
  ResourceDefinition,
  ResourceVersion,
} from '../resources/definition.ts';
import { define } from '../resources/define.ts';
import type { CellColumn } from '../resources/printing/columns.ts';
import { ageColumn, nameColumn } from '../resources/printing/columns.ts';
import { since } from '../resources/printing/durations.ts';
import type { Decoded, FieldValidation } from '../schema/schema.ts';
import { registerCustomType } from '../schema/schema.ts';
import { copy } from '../server/json.ts';
import type { Convert } from './conversion.ts';
import { webhookConversion } from './conversion.ts';
import { compileJsonPath } from './json-path.ts';
import { decodeCustom, defaultCustom } from './prune.ts';
import type { JsonSchema } from './structural-schema.ts';
import { additionalOf, itemsOf, typeOfSchema } from './structural-schema.ts';
import { validateValue } from './validate.ts';
import { checkRules } from './validation-rules.ts';

/** What a version without a schema gets; only definitions from before schemas were required are like that. */
const ANYTHING: JsonSchema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };

/**
 * One definition whose `versions` are the served ones, storage version first; empty when none is served. Makes the type of
 * each version known to `typeByName`. Conversions by webhook throw `NeedsConversion`.
 */
export function definitionFromCrd(object: KubeObject, registry: Registry): ResourceDefinition[] {
  const crd = object as unknown as CustomResourceDefinition;
  const { group, names, scope, conversion } = crd.spec;
  const convert: Convert =
    conversion?.strategy === 'Webhook' && conversion.webhook !== undefined
      ? webhookConversion(names.kind, conversion.webhook, registry)
      : (one, apiVersion) => ({ ...one, apiVersion });
  const storage = crd.spec.versions.find((version) => version.storage);
  const served = crd.spec.versions
    .filter((version) => version.served)
    .toSorted((a, b) => Number(b.storage) - Number(a.storage));
  const [first, ...others] = served;
  if (first === undefined || storage === undefined) return [];
  const schemas = new Map(served.map((version) => [version.name, schemaOf(version)]));
  const storedForm = `${group}/${storage.name}`;
  // Objects written before the storage version changed still carry the older one.
  const mixed = !storage.served || (crd.status?.storedVersions ?? []).some((version) => version !== storage.name);
  const versionOf = (version: CustomResourceDefinitionVersion): ResourceVersion =>
    resourceVersion(crd, version, {
      storedForm,
      convert,
      // Objects from before a default was declared are shown with it, too.
      rewrite: mixed || version !== storage || hasDefaults(schemaOf(version)),
    });
  // A webhook may give the stored form another shape than the version that was asked for.
  const schemaFor = (context: RequestContext): JsonSchema =>
    conversion?.strategy === 'Webhook' ? schemaOf(storage) : (schemas.get(context.version) ?? schemaOf(first));
  const validateUpdate = (value: KubeObject, old: KubeObject, context: RequestContext): FieldError[] =>
    validateCustom(schemaFor(context), value, old);
  const scale = first.subresources?.scale;
  const definition = define<KubeObject>({
    group,
    plural: names.plural,
    singular: names.singular ?? names.kind.toLowerCase(),
    kind: names.kind,
    namespaced: scope === 'Namespaced',
    freeFinalizers: true,
    ...(names.shortNames === undefined ? {} : { shortNames: names.shortNames }),
    ...(names.categories === undefined ? {} : { categories: names.categories }),
    versions: [versionOf(first), ...others.map(versionOf)],
    default: (value) => defaultCustom(schemaOf(conversion?.strategy === 'Webhook' ? storage : first), value),
    validate: (value, context) => validateCustom(schemaFor(context), value, undefined),
    validateUpdate,
    validateUpdateOnly: true,
    ...(first.subresources?.status === undefined ? {} : { status: { validateUpdate } }),
    ...(scale === undefined
      ? {}
      : {
          scale: {
            specReplicas: scale.specReplicasPath,
            statusReplicas: scale.statusReplicasPath,
            ...(scale.labelSelectorPath === undefined ? {} : { selector: scale.labelSelectorPath }),
          },
        }),
    allColumns: columnsOf(first.additionalPrinterColumns),
  });
  return [{ ...definition, custom: true }];
}

/** Schema errors, or, when there are none, what the rules say. */
function validateCustom(schema: JsonSchema, value: KubeObject, old: KubeObject | undefined): FieldError[] {
  const errors = validateValue(schema, value, '', old);
  // Rules may rely on what the schema promises.
  return errors.length > 0 ? errors : checkRules(schema, { value, old, path: '' });
}

function schemaOf(version: CustomResourceDefinitionVersion): JsonSchema {
  return version.schema?.openAPIV3Schema ?? ANYTHING;
}

function resourceVersion(
  crd: CustomResourceDefinition,
  version: CustomResourceDefinitionVersion,
  { storedForm, convert, rewrite }: { storedForm: string; convert: Convert; rewrite: boolean },
): ResourceVersion {
  const { group, names } = crd.spec;
  const schema = schemaOf(version);
  const name = [...group.split('.').toReversed(), version.name, names.kind].join('.');
  registerCustomType({
    ...typeOfSchema(schema, name),
    custom: {
      group,
      version: version.name,
      kind: names.kind,
      listKind: names.listKind ?? `${names.kind}List`,
      statusSubresource: version.subresources?.status !== undefined,
      openapi: schema as Readonly<Record<string, unknown>>,
      decode: (value: unknown, mode: FieldValidation): Decoded => decodeCustom(schema, value, mode),
    },
  });
  const apiVersion = `${group}/${version.name}`;
  return {
    version: version.name,
    schema: name,
    ...(version.deprecated === true
      ? { deprecated: version.deprecationWarning ?? `${apiVersion} ${names.kind} is deprecated` }
      : {}),
    selectableFields: selectableFieldsOf(version),
    ...(rewrite
      ? {
          fromStorage: (object) => withDefaults(schema, convert(object, apiVersion)),
          toStorage: (object) => convert(withDefaults(schema, object), storedForm),
        }
      : {}),
  };
}

function hasDefaults(schema: JsonSchema): boolean {
  const items = itemsOf(schema);
  const additional = additionalOf(schema);
  const inner = [
    ...Object.values(schema.properties ?? {}),
    ...(items === undefined ? [] : [items]),
    ...(typeof additional === 'object' ? [additional] : []),
  ];
  return schema.default !== undefined || inner.some(hasDefaults);
}

function withDefaults(schema: JsonSchema, object: KubeObject): KubeObject {
  const result = copy(object);
  defaultCustom(schema, result);
  return result;
}

function columnsOf(declared: readonly CustomResourceColumnDefinition[] | undefined): CellColumn<KubeObject>[] {
  if (declared === undefined || declared.length === 0) return [nameColumn<KubeObject>(), ageColumn<KubeObject>()];
  return [nameColumn<KubeObject>(), ...declared.map(printerColumn)];
}

function printerColumn(column: CustomResourceColumnDefinition): CellColumn<KubeObject> {
  const find = compileJsonPath(column.jsonPath);
  return {
    name: column.name,
    type: column.type as CellColumn<KubeObject>['type'],
    ...(column.format === undefined ? {} : { format: column.format }),
    description: column.description ?? `Custom resource definition column (in JSONPath format): ${column.jsonPath}`,
    priority: column.priority ?? 0,
    cell(object, now) {
      const found = find(object);
      if (column.type === 'date') {
        return found.length === 0 ? null : since(typeof found[0] === 'string' ? found[0] : undefined, now);
      }
      if (found.length === 0) return null;
      const [only] = found;
      if (found.length === 1 && (typeof only === 'string') === (column.type === 'string') && typeof only !== 'object') {
        return only;
      }
      return found.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))).join(',');
    },
  };
}

function selectableFieldsOf(version: CustomResourceDefinitionVersion): (object: KubeObject) => Record<string, string> {
  const fields = (version.selectableFields ?? []).map(
    ({ jsonPath }) => [jsonPath.replace(/^\./, ''), compileJsonPath(jsonPath)] as const,
  );
  return (object) =>
    Object.fromEntries(
      fields.map(([name, find]) => {
        const [value] = find(object);
        return [name, value === undefined ? '' : String(value)];
      }),
    );
}

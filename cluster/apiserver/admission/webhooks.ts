// SPDX-License-Identifier: Apache-2.0
// MutatingAdmissionWebhook and ValidatingAdmissionWebhook: ask outside services about requests.
import { randomUUID } from 'node:crypto';
import { applyPatch, type Operation } from 'rfc6902';
import type {
  MutatingWebhook,
  MutatingWebhookConfiguration,
  ValidatingWebhook,
  ValidatingWebhookConfiguration,
} from '../../machinery/api-types.ts';
import { typed } from '../resources/define.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject } from '../resources/definition.ts';
import { firstLine } from '../extensions/cel.ts';
import { converting } from '../extensions/conversion.ts';
import type { NamedProgram } from '../extensions/policy-matching.ts';
import { compileNamed, requestVariables } from '../extensions/policy-matching.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import { copy } from '../server/json.ts';
import { StatusError } from '../status.ts';
import { refusal, replaceObject } from './attributes.ts';
import { matchesNamespace, matchesObject, matchesRule, versionFor } from './rules.ts';
import { callWebhook } from './webhook-client.ts';

type Webhook = ValidatingWebhook | MutatingWebhook;

interface AdmissionResponse {
  readonly uid?: string;
  readonly allowed?: boolean;
  readonly status?: { readonly code?: number; readonly message?: string; readonly reason?: string };
  readonly patchType?: string;
  readonly patch?: string;
  readonly warnings?: readonly string[];
}

const defaultTimeoutSeconds = 10;
/** Webhooks have no say about these: a broken one could not be repaired any more. */
const exempt = new Set(['mutatingwebhookconfigurations', 'validatingwebhookconfigurations']);

export const mutatingWebhooks: AdmissionPlugin = {
  name: 'MutatingAdmissionWebhook',
  async mutate(attributes) {
    const configurations = typed<MutatingWebhookConfiguration>(
      attributes.context.registry.list('mutatingwebhookconfigurations.admissionregistration.k8s.io'),
    );
    for (const webhook of matching(attributes, configurations)) {
      const response = await ask(webhook, attributes);
      if (response?.patch !== undefined && response.patch !== '' && attributes.object !== undefined) {
        await patchInPlace(webhook, attributes, response.patch);
      }
    }
  },
};

export const validatingWebhooks: AdmissionPlugin = {
  name: 'ValidatingAdmissionWebhook',
  validate: askValidating,
  connect: askValidating,
};

async function askValidating(attributes: AdmissionAttributes): Promise<void> {
  const configurations = typed<ValidatingWebhookConfiguration>(
    attributes.context.registry.list('validatingwebhookconfigurations.admissionregistration.k8s.io'),
  );
  await Promise.all(matching(attributes, configurations).map(async (webhook) => ask(webhook, attributes)));
}

function matching<W extends Webhook>(
  attributes: AdmissionAttributes,
  configurations: readonly { metadata: { name?: string }; webhooks?: W[] }[],
): W[] {
  if (configurations.length === 0 || exempt.has(attributes.definition.plural)) {
    return [];
  }
  return configurations
    .toSorted((left, right) => ((left.metadata.name ?? '') < (right.metadata.name ?? '') ? -1 : 1))
    .flatMap(({ webhooks }) => webhooks ?? [])
    .filter((webhook) => matches(webhook, attributes));
}

function matches(webhook: Webhook, attributes: AdmissionAttributes): boolean {
  return (
    (webhook.rules ?? []).some((rule) => matchesRule(rule, attributes, webhook.matchPolicy)) &&
    matchesObject(webhook, attributes) &&
    matchesNamespace(webhook, attributes) &&
    meetsConditions(webhook, attributes)
  );
}

/** The watch cache gives a new object for every revision, so nothing here grows stale. */
const compiled = new WeakMap<Webhook, readonly NamedProgram[]>();

/**
 * Whether all match conditions hold. One that does not decides, also when another cannot be evaluated.
 * Errors: 403 when none is false, one cannot be evaluated and the webhook fails closed.
 */
function meetsConditions(webhook: Webhook, attributes: AdmissionAttributes): boolean {
  if ((webhook.matchConditions ?? []).length === 0) {
    return true;
  }
  let conditions = compiled.get(webhook);
  if (conditions === undefined) {
    conditions = compileNamed(webhook.matchConditions);
    compiled.set(webhook, conditions);
  }
  const variables = requestVariables(attributes, { registry: attributes.context.registry });
  const problems: string[] = [];
  for (const { name, program } of conditions) {
    try {
      if (program(variables) !== true) {
        return false;
      }
    } catch (error) {
      problems.push(`match condition ${JSON.stringify(name)} cannot be evaluated: ${firstLine(error)}`);
    }
  }
  if (problems.length > 0 && webhook.failurePolicy !== 'Ignore') {
    throw refusal(attributes, problems.join('; '));
  }
  return problems.length === 0;
}

/** Undefined when the webhook cannot be asked and says that this is fine. Errors: its refusal, or 500. */
async function ask(webhook: Webhook, attributes: AdmissionAttributes): Promise<AdmissionResponse | undefined> {
  const uid = randomUUID();
  let response: AdmissionResponse;
  try {
    response = await post(webhook, attributes, await converting(() => review(uid, webhook, attributes)));
    if (response.uid !== uid) {
      throw new Error(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response.uid)}`);
    }
  } catch (error) {
    if (webhook.failurePolicy === 'Ignore') {
      return undefined;
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new StatusError(
      500,
      'InternalError',
      `Internal error occurred: failed calling webhook ${JSON.stringify(webhook.name)}: failed to call webhook: ${why}`,
    );
  }
  for (const warning of response.warnings ?? []) {
    attributes.context.warn(warning);
  }
  if (response.allowed !== true) {
    throw denial(webhook, response);
  }
  return response;
}

function denial(webhook: Webhook, { status }: AdmissionResponse): StatusError {
  const text = `admission webhook ${JSON.stringify(webhook.name)} denied the request`;
  const { message = '', reason = '', code = 0 } = status ?? {};
  const why = message === '' ? reason : message;
  const full = why === '' ? `${text} without explanation` : `${text}: ${why}`;
  return new StatusError(code === 0 ? 403 : code, reason === '' ? (code === 0 ? 'Forbidden' : '') : reason, full);
}

function review(uid: string, webhook: Webhook, attributes: AdmissionAttributes): object {
  const { operation, definition, context, object, old } = attributes;
  const { group, plural, kind } = definition;
  const version = versionFor(webhook.rules ?? [], attributes);
  const what = { group, version: version.version };
  const requested = { group, version: context.version };
  const shown = (one: KubeObject | undefined): KubeObject | null =>
    one === undefined ? null : (version.fromStorage?.(one) ?? one);
  const connecting = operation === 'CONNECT' ? connectionShown(object) : undefined;
  const shownKind = (of: { group: string; version: string }): object => connecting?.kind ?? { ...of, kind };
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid,
      kind: shownKind(what),
      resource: { ...what, resource: plural },
      ...(context.subresource !== undefined && { subResource: context.subresource }),
      requestKind: shownKind(requested),
      requestResource: { ...requested, resource: plural },
      ...(context.subresource !== undefined && { requestSubResource: context.subresource }),
      name: (object ?? old)?.metadata.name ?? context.name ?? '',
      ...((object ?? old)?.metadata.namespace !== undefined && { namespace: (object ?? old)?.metadata.namespace }),
      operation,
      userInfo: {
        username: context.user.name,
        ...(context.user.uid !== undefined && { uid: context.user.uid }),
        groups: context.user.groups,
        ...(context.user.extra !== undefined && { extra: context.user.extra }),
      },
      object: connecting?.object ?? shown(object),
      oldObject: shown(old),
      dryRun: context.dryRun,
      options: optionsOf(operation),
    },
  };
}

/** Options have no metadata, and a kind of their own. */
function connectionShown(options: KubeObject | undefined): { kind: object; object: object } | undefined {
  if (options === undefined) {
    return undefined;
  }
  const { metadata: _, ...object } = options;
  return { kind: { group: '', version: options.apiVersion, kind: options.kind }, object };
}

function optionsOf(operation: AdmissionAttributes['operation']): object | null {
  const kind = { CREATE: 'CreateOptions', UPDATE: 'UpdateOptions', DELETE: 'DeleteOptions', CONNECT: '' }[operation];
  return kind === '' ? null : { kind, apiVersion: 'meta.k8s.io/v1' };
}

async function post(webhook: Webhook, attributes: AdmissionAttributes, body: object): Promise<AdmissionResponse> {
  const answer = (await callWebhook(webhook.clientConfig, body, {
    registry: attributes.context.registry,
    seconds: webhook.timeoutSeconds ?? defaultTimeoutSeconds,
  })) as { response?: AdmissionResponse };
  if (answer.response === undefined) {
    throw new Error('webhook response was absent');
  }
  return answer.response;
}

/** The patch is for the version that the webhook was shown. */
async function patchInPlace(webhook: Webhook, attributes: AdmissionAttributes, encoded: string): Promise<void> {
  const { object } = attributes;
  if (object === undefined) {
    return;
  }
  const operations = JSON.parse(Buffer.from(encoded, 'base64').toString()) as Operation[];
  const { schema, fromStorage, toStorage } = versionFor(webhook.rules ?? [], attributes);
  const patched = await converting(() => copy(fromStorage?.(object) ?? object));
  const failed = applyPatch(patched, operations).find((error) => error !== null);
  if (failed !== undefined) {
    throw new StatusError(
      500,
      'InternalError',
      `Internal error occurred: admission webhook ${JSON.stringify(webhook.name)} sent a patch that does not apply: ${failed.message}`,
    );
  }
  const type = typeByName(schema);
  const known = type === undefined ? patched : decodeObject(type, patched, 'Ignore').object;
  replaceObject(object, await converting(() => toStorage?.(copy(known)) ?? known));
}

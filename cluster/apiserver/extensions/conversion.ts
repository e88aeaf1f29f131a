// SPDX-License-Identifier: Apache-2.0
// Conversion of custom resources between their versions by a webhook. Conversion is a plain function everywhere else, so a
// result that is not known yet is thrown as a question; `converting` has it answered and tries again.
import { randomUUID } from 'node:crypto';
import type { WebhookConversion } from '../../machinery/api-types.ts';
import { callWebhook } from '../admission/webhook-client.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { copy } from '../server/json.ts';
import { StatusError } from '../status.ts';

const seconds = 30;
/** Answers that are kept; the same objects are asked for again and again by lists and watches. */
const capacity = 4096;

export type Convert = (object: KubeObject, apiVersion: string) => KubeObject;

/** Thrown by a conversion whose result is not known yet. */
export class NeedsConversion extends Error {
  readonly answer: (others: readonly KubeObject[]) => Promise<void>;

  constructor(answer: NeedsConversion['answer']) {
    super('the conversion of an object has to be asked for first');
    this.answer = answer;
  }
}

/**
 * Runs `act`, which must have no effects, until everything that it converts is known.
 * @param others objects that `act` will convert likewise; they are asked for in one go.
 * Errors: 500 when the webhook fails.
 */
export async function converting<T>(
  act: () => T | Promise<T>,
  others: () => readonly KubeObject[] = () => [],
): Promise<T> {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof NeedsConversion)) throw error;
      await error.answer(others());
    }
  }
}

/** Converts by asking the webhook; objects that have the wanted version already are given back as they are. */
export function webhookConversion(kind: string, { clientConfig }: WebhookConversion, registry: Registry): Convert {
  const known = new Map<string, KubeObject>();
  const keyOf = (object: KubeObject, apiVersion: string): string => `${apiVersion} ${JSON.stringify(object)}`;

  async function ask(objects: readonly KubeObject[], apiVersion: string): Promise<void> {
    const request = { uid: randomUUID(), desiredAPIVersion: apiVersion, objects };
    const what = `conversion webhook for ${objects[0]?.apiVersion}, Kind=${kind} failed`;
    let converted: readonly KubeObject[];
    try {
      const review = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'ConversionReview', request };
      const answer = await callWebhook(clientConfig ?? {}, review, { registry, seconds });
      converted = convertedObjects(answer, request);
    } catch (error) {
      throw new StatusError(500, 'InternalError', `${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
    for (const [at, object] of objects.entries()) {
      known.set(keyOf(object, apiVersion), withMetadataOf(object, converted[at] as KubeObject));
    }
    for (const key of known.keys()) {
      if (known.size <= Math.max(capacity, objects.length)) break;
      known.delete(key);
    }
  }

  return (object, apiVersion) => {
    if (object.apiVersion === apiVersion) return object;
    const key = keyOf(object, apiVersion);
    const result = known.get(key);
    if (result !== undefined) return copy(result);
    // The caller may change the object before the answer is there.
    const frozen = copy(object);
    throw new NeedsConversion((others) => {
      const rest = others.filter(
        (other) => other.apiVersion === frozen.apiVersion && !known.has(keyOf(other, apiVersion)),
      );
      return ask([frozen, ...rest.filter((other) => keyOf(other, apiVersion) !== key)], apiVersion);
    });
  };
}

function convertedObjects(
  answer: unknown,
  request: { uid: string; objects: readonly KubeObject[]; desiredAPIVersion: string },
): KubeObject[] {
  const { response } = answer as {
    response?: {
      uid?: string;
      convertedObjects?: KubeObject[];
      result?: { status?: string; message?: string };
    };
  };
  if (response?.uid !== request.uid) {
    throw new Error(`expected response.uid=${JSON.stringify(request.uid)}, got ${JSON.stringify(response?.uid)}`);
  }
  if (response.result?.status !== 'Success') throw new Error(response.result?.message ?? 'it gives no reason');
  const objects = response.convertedObjects ?? [];
  if (objects.length !== request.objects.length) {
    throw new Error(`expected ${request.objects.length} converted objects, got ${objects.length}`);
  }
  for (const [at, object] of objects.entries()) {
    if (object.apiVersion !== request.desiredAPIVersion) {
      throw new Error(`converted object ${at} is ${object.apiVersion}, not ${request.desiredAPIVersion}`);
    }
    if (object.kind !== request.objects[at]?.kind || object.metadata?.name !== request.objects[at]?.metadata.name) {
      throw new Error(`converted object ${at} is another object`);
    }
  }
  return objects;
}

/** Labels and annotations are the webhook's to change, the rest of the metadata is not. */
function withMetadataOf(object: KubeObject, converted: KubeObject): KubeObject {
  const { labels: _, annotations: __, ...metadata } = object.metadata;
  const { labels, annotations } = converted.metadata;
  return {
    ...converted,
    metadata: {
      ...metadata,
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    },
  };
}

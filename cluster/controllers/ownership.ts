// SPDX-License-Identifier: Apache-2.0
// Who owns what: controller references, and adoption and release of objects by selector.
import type { LabelSelector, ObjectMeta, OwnerReference } from '../machinery/api-types.ts';
import { isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import { apiVersionOf } from '../machinery/resources.ts';
import type { Resource } from '../machinery/resources.ts';
import { matchesLabelSelector } from '../machinery/selectors.ts';

type AnyObject = { metadata: ObjectMeta };

export function controllerOf(object: AnyObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller === true);
}

/** A controller reference that blocks the owner's foreground deletion. */
export function ownerReferenceTo(owner: AnyObject, resource: Resource): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata.name ?? '',
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

export interface Claims<T> {
  readonly owned: T[];
  readonly adopt: T[];
  readonly release: T[];
}

/**
 * Sorts candidates of one namespace: what the owner has and still selects, orphans that it selects, and what it has but
 * no longer selects. An owner that is being deleted neither adopts nor releases.
 */
export function planClaims<T extends AnyObject>(
  owner: AnyObject,
  selector: LabelSelector | undefined,
  candidates: readonly T[],
): Claims<T> {
  const claims: Claims<T> = { owned: [], adopt: [], release: [] };
  const deleting = owner.metadata.deletionTimestamp !== undefined;
  for (const candidate of candidates) {
    const controller = controllerOf(candidate);
    const selected = matchesLabelSelector(selector, candidate.metadata.labels);
    if (controller) {
      if (controller.uid !== owner.metadata.uid) continue;
      if (selected) claims.owned.push(candidate);
      else if (!deleting) claims.release.push(candidate);
    } else if (selected && !deleting && candidate.metadata.deletionTimestamp === undefined) {
      claims.adopt.push(candidate);
    }
  }
  return claims;
}

/** Does what `planClaims` found and returns what the owner has afterwards. */
export async function claim<T extends AnyObject>(options: {
  client: Client;
  owner: AnyObject;
  ownerResource: Resource;
  resource: Resource;
  selector: LabelSelector | undefined;
  candidates: readonly T[];
  /** What adopted objects get, so that they do not go before the owner has taken note. */
  finalizer?: string;
}): Promise<T[]> {
  const { client, owner, resource, ownerResource, finalizer } = options;
  const claims = planClaims(owner, options.selector, options.candidates);
  const owned = [...claims.owned];
  if (claims.adopt.length > 0) {
    // The cache may not know yet that the owner is gone; an adopted orphan would then be deleted with it.
    const live = await client.get<AnyObject>(ownerResource, owner.metadata.name ?? '', owner.metadata.namespace);
    if (live.metadata.uid !== owner.metadata.uid || live.metadata.deletionTimestamp) return owned;
    for (const orphan of claims.adopt) {
      const metadata = {
        ownerReferences: [ownerReferenceTo(owner, ownerResource)],
        ...(finalizer !== undefined && { finalizers: [finalizer] }),
      };
      owned.push(await patchMetadata<T>(client, resource, orphan, metadata));
    }
  }
  for (const released of claims.release) {
    try {
      const ownerReferences = [{ $patch: 'delete', uid: owner.metadata.uid }];
      await patchMetadata(client, resource, released, { ownerReferences });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return owned;
}

function patchMetadata<T extends AnyObject>(
  client: Client,
  resource: Resource,
  object: T,
  metadata: object,
): Promise<T> {
  const { name = '', namespace, uid } = object.metadata;
  return client.patch<T>(resource, name, {
    namespace,
    type: 'strategic',
    body: { metadata: { uid, ...metadata } },
  });
}

// SPDX-License-Identifier: Apache-2.0
// History of templates as ControllerRevisions, for StatefulSets and DaemonSets: what `kubectl rollout` reads and undoes.
import type { ControllerRevision, ObjectMeta, PodTemplateSpec } from '../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';
import type { Resource } from '../machinery/resources.ts';
import { sameJson, shortHash } from './canonical-json.ts';
import { ownerReferenceTo } from './ownership.ts';

export const revisionLabel = 'controller-revision-hash';

interface Owner {
  readonly metadata: ObjectMeta;
  readonly spec?: { readonly template: PodTemplateSpec };
}

export interface History {
  /** The revision of the present template. */
  readonly current: ControllerRevision;
  /** All, oldest first, `current` last. */
  readonly all: ControllerRevision[];
  /** Set when a name belonged to something else and the hash had to be changed. */
  readonly collisionCount: number;
}

/** A strategic merge patch that puts the template back: the form in which revisions are kept. */
export function revisionData(template: PodTemplateSpec): Record<string, unknown> {
  return { spec: { template: { ...template, $patch: 'replace' } } };
}

export function templateOf(revision: ControllerRevision): PodTemplateSpec | undefined {
  const { spec } = (revision.data ?? {}) as { spec?: { template?: PodTemplateSpec & { $patch?: string } } };
  if (!spec?.template) return undefined;
  const { $patch: _, ...template } = spec.template;
  return template;
}

/** Name of the hash that pods of this revision carry as label. */
export function hashOf(revision: ControllerRevision): string {
  return revision.metadata.labels?.[revisionLabel] ?? '';
}

/** Finds the present template's revision among `owned`, brings it to the top, or creates it. */
export async function syncHistory(options: {
  client: Client;
  owner: Owner;
  resource: Resource;
  owned: readonly ControllerRevision[];
  collisionCount: number;
}): Promise<History> {
  const { client, owner, resource, collisionCount } = options;
  const data = revisionData(owner.spec?.template ?? {});
  const owned = options.owned.toSorted((a, b) => a.revision - b.revision);
  const top = owned.at(-1);
  const same = owned.findLast((revision) => sameJson(revision.data, data));
  if (same && same === top) return { current: same, all: owned, collisionCount };
  const number = (top?.revision ?? 0) + 1;
  if (same) {
    const raised = await client.update<ControllerRevision>(resources.controllerRevisions, {
      ...same,
      revision: number,
    });
    return { current: raised, all: [...owned.filter((one) => one !== same), raised], collisionCount };
  }
  for (let collisions = collisionCount; ; collisions++) {
    const hash = shortHash(data, collisions);
    const name = `${owner.metadata.name}-${hash}`;
    const namespace = owner.metadata.namespace ?? '';
    const wanted: ControllerRevision = {
      metadata: {
        name,
        namespace,
        labels: { ...owner.spec?.template.metadata?.labels, [revisionLabel]: hash },
        ownerReferences: [ownerReferenceTo(owner, resource)],
        ...(owner.metadata.annotations && { annotations: withoutLastApplied(owner.metadata.annotations) }),
      },
      data,
      revision: number,
    };
    try {
      const created = await client.create<ControllerRevision>(resources.controllerRevisions, wanted);
      return { current: created, all: [...owned, created], collisionCount: collisions };
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const existing = await client.get<ControllerRevision>(resources.controllerRevisions, name, namespace);
      const ours = existing.metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid);
      if (ours && sameJson(existing.data, data))
        return { current: existing, all: [...owned, existing], collisionCount: collisions };
    }
  }
}

/** Deletes the oldest revisions beyond `limit`, none that is `live`. */
export async function trimHistory(
  client: Client,
  all: readonly ControllerRevision[],
  options: { limit: number; live: ReadonlySet<string> },
): Promise<void> {
  const spare = all.filter(({ metadata }) => !options.live.has(metadata.name ?? ''));
  for (const { metadata } of spare.slice(0, Math.max(0, spare.length - options.limit))) {
    try {
      await client.delete(resources.controllerRevisions, metadata.name ?? '', { namespace: metadata.namespace });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

function withoutLastApplied(annotations: Record<string, string>): Record<string, string> {
  const { 'kubectl.kubernetes.io/last-applied-configuration': _, ...rest } = annotations;
  return rest;
}

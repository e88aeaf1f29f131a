// SPDX-License-Identifier: Apache-2.0
// Identity of a StatefulSet's pods: names, ordinals, labels, and the claims that belong to them.
import type {
  OwnerReference,
  PersistentVolumeClaim,
  Pod,
  PodTemplateSpec,
  StatefulSet,
  Volume,
} from '../../machinery/api-types.ts';
import { resources } from '../../machinery/resources.ts';
import { ownerReferenceTo } from '../ownership.ts';
import { podFromTemplate } from '../pod-control.ts';
import { revisionLabel } from '../revisions.ts';

/** The ordinal in a pod's name, or undefined for a pod that is none of the set's. */
export function ordinalOf(set: StatefulSet, pod: Pod): number | undefined {
  const name = pod.metadata.name ?? '';
  const prefix = `${set.metadata.name}-`;
  const rest = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  return /^(0|[1-9]\d*)$/.test(rest) ? Number(rest) : undefined;
}

export function podFor(
  set: StatefulSet,
  ordinal: number,
  revision: { template: PodTemplateSpec; hash: string; name: string },
): Pod {
  const name = `${set.metadata.name}-${ordinal}`;
  const pod = podFromTemplate(revision.template, { object: set, resource: resources.statefulSets }, name);
  const { serviceName } = set.spec ?? {};
  const claims: Volume[] = (set.spec?.volumeClaimTemplates ?? []).map(({ metadata }) => ({
    name: metadata.name ?? '',
    persistentVolumeClaim: { claimName: claimName(set, metadata.name ?? '', ordinal) },
  }));
  const others = (pod.spec?.volumes ?? []).filter((volume) => !claims.some((claim) => claim.name === volume.name));
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: {
        ...pod.metadata.labels,
        [revisionLabel]: revision.name,
        'statefulset.kubernetes.io/pod-name': name,
        'apps.kubernetes.io/pod-index': String(ordinal),
      },
    },
    ...(pod.spec && {
      spec: {
        ...pod.spec,
        hostname: name,
        ...(serviceName && { subdomain: serviceName }),
        ...((claims.length > 0 || others.length > 0) && { volumes: [...claims, ...others] }),
      },
    }),
  };
}

export function claimName(set: StatefulSet, template: string, ordinal: number): string {
  return `${template}-${set.metadata.name}-${ordinal}`;
}

/** The claims that the pod of this ordinal needs, as they are created when missing. */
export function claimsFor(set: StatefulSet, ordinal: number): PersistentVolumeClaim[] {
  return (set.spec?.volumeClaimTemplates ?? []).map((template) => ({
    ...(template.spec && { spec: template.spec }),
    metadata: {
      name: claimName(set, template.metadata.name ?? '', ordinal),
      namespace: set.metadata.namespace ?? '',
      labels: { ...template.metadata.labels, ...set.spec?.selector?.matchLabels },
      ...(template.metadata.annotations && { annotations: template.metadata.annotations }),
    },
  }));
}

/**
 * Owner references that the retention policy asks of a claim: the set's when claims go with the set, the pod's when they
 * go on scaling down and this pod is condemned. Undefined when they are right.
 */
export function claimOwners(
  set: StatefulSet,
  claim: PersistentVolumeClaim,
  pod: { object: Pod; condemned: boolean },
): OwnerReference[] | undefined {
  const { whenDeleted = 'Retain', whenScaled = 'Retain' } = set.spec?.persistentVolumeClaimRetentionPolicy ?? {};
  const current = claim.metadata.ownerReferences ?? [];
  const byPod = whenScaled === 'Delete' && pod.condemned;
  const bySet = whenDeleted === 'Delete' && !byPod;
  const reference = (owner: StatefulSet | Pod, kind: 'StatefulSet' | 'Pod'): OwnerReference => {
    const {
      controller: _,
      blockOwnerDeletion: __,
      ...rest
    } = ownerReferenceTo(owner, kind === 'Pod' ? resources.pods : resources.statefulSets);
    return rest;
  };
  const foreign = current.filter(
    ({ uid, kind }) => uid !== set.metadata.uid && !(kind === 'Pod' && uid === pod.object.metadata.uid),
  );
  const wanted = [
    ...foreign,
    ...(bySet ? [reference(set, 'StatefulSet')] : []),
    ...(byPod ? [reference(pod.object, 'Pod')] : []),
  ];
  const uids = (list: readonly OwnerReference[]): string =>
    list
      .map(({ uid }) => uid)
      .toSorted()
      .join();
  return uids(wanted) === uids(current) ? undefined : wanted;
}

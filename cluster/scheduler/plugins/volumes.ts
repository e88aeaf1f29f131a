// SPDX-License-Identifier: Apache-2.0
// Storage as a scheduling constraint: binding of claims that wait for their first consumer, node affinity of bound volumes,
// attach limits per CSI driver, and access by one pod only. Decides only; volume-binder.ts writes.
import type { CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../machinery/api-types.ts';
import { toBytes } from '../../machinery/quantities.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { filterPlugin, reject, rejectPermanently } from '../framework.ts';
import type { FilterPlugin, NodeInfo, PodInfo } from '../framework.ts';
import { matchesTerm } from './node-filters.ts';

/** What the plugins read of storage objects; claims by `namespace/name`. */
export interface StorageReader {
  claim(namespace: string, name: string): PersistentVolumeClaim | undefined;
  volume(name: string): PersistentVolume | undefined;
  volumes(): readonly PersistentVolume[];
  storageClass(name: string): StorageClass | undefined;
  csiNode(name: string): CSINode | undefined;
  /** The claim (`namespace/name`) that an earlier cycle has promised this volume to, while the API does not show it yet. */
  promisedTo(volume: string): string | undefined;
}

/** What must be written before the pod may be bound to the chosen node. */
export interface ClaimBinding {
  readonly claim: PersistentVolumeClaim;
  /** The existing volume to bind; absent when the provisioner shall make one for the node. */
  readonly volume?: PersistentVolume;
}

const SELECTED_NODE = 'volume.kubernetes.io/selected-node';
const NO_PROVISIONER = 'kubernetes.io/no-provisioner';

interface ClaimsState {
  readonly bound: readonly PersistentVolume[];
  readonly unbound: readonly { claim: PersistentVolumeClaim; storageClass: StorageClass }[];
}

export function volumeBinding(storage: StorageReader): FilterPlugin {
  return filterPlugin<ClaimsState>({
    name: 'VolumeBinding',
    events: ['node-added', 'node-labels', 'storage'],
    preFilter: (pod) => {
      if (pod.claims.length === 0) return {};
      const sorted = sortClaims(pod, storage);
      return 'permanent' in sorted ? { rejection: sorted } : { state: sorted };
    },
    filter: (state, _pod, node) => {
      if (state.bound.some((volume) => !volumeFitsNode(volume, node))) {
        return rejectPermanently("node(s) didn't match PersistentVolume's node affinity");
      }
      const plan = planBindings(state, node, storage);
      return plan === undefined
        ? rejectPermanently("node(s) didn't find available persistent volumes to bind")
        : undefined;
    },
  });
}

/**
 * The bindings for a pod on its chosen node, in the order to write them.
 * Undefined when storage changed since the filter ran.
 */
export function bindingsFor(pod: PodInfo, node: NodeInfo, storage: StorageReader): readonly ClaimBinding[] | undefined {
  if (pod.claims.length === 0) return [];
  const sorted = sortClaims(pod, storage);
  return 'permanent' in sorted ? undefined : planBindings(sorted, node, storage);
}

export function volumeRestrictions(storage: StorageReader): FilterPlugin {
  return filterPlugin<ReadonlySet<string>>({
    name: 'VolumeRestrictions',
    events: ['pod-deleted', 'storage', 'node-added'],
    preFilter: (pod, snapshot) => {
      const exclusive = new Set<string>();
      for (const name of pod.claims) {
        if (storage.claim(pod.namespace, name)?.spec?.accessModes?.includes('ReadWriteOncePod') === true) {
          exclusive.add(name);
        }
      }
      if (exclusive.size === 0) return {};
      const inUse = snapshot.nodes.some((node) =>
        node.pods.some((other) => usesOneOf(other, pod.namespace, exclusive)),
      );
      return inUse
        ? {
            rejection: reject(
              'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode',
            ),
          }
        : {};
    },
    filter: () => undefined,
  });
}

export function nodeVolumeLimits(storage: StorageReader): FilterPlugin {
  return filterPlugin<ReadonlyMap<string, ReadonlySet<string>>>({
    name: 'NodeVolumeLimits',
    events: ['node-added', 'pod-deleted', 'storage'],
    preFilter: (pod) => {
      const wanted = volumesByDriver(pod, storage);
      return wanted.size === 0 ? {} : { state: wanted };
    },
    filter: (wanted, _pod, node) => {
      const limits = storage.csiNode(node.name)?.spec?.drivers ?? [];
      for (const [driver, handles] of wanted) {
        const limit = limits.find((entry) => entry.name === driver)?.allocatable?.count;
        if (limit === undefined) continue;
        const attached = new Set(handles);
        for (const other of node.pods) {
          for (const handle of volumesByDriver(other, storage).get(driver) ?? []) attached.add(handle);
        }
        if (attached.size > limit) return reject('node(s) exceed max volume count');
      }
      return undefined;
    },
  });
}

export function volumeZone(storage: StorageReader): FilterPlugin {
  const keys = ['topology.kubernetes.io/zone', 'topology.kubernetes.io/region'];
  return filterPlugin<readonly PersistentVolume[]>({
    name: 'VolumeZone',
    events: ['node-added', 'node-labels', 'storage'],
    preFilter: (pod) => {
      const zoned = pod.claims
        .map((name) => storage.volume(storage.claim(pod.namespace, name)?.spec?.volumeName ?? ''))
        .filter((volume) => volume !== undefined)
        .filter((volume) => keys.some((key) => volume.metadata.labels?.[key] !== undefined));
      return zoned.length === 0 ? {} : { state: zoned };
    },
    filter: (zoned, _pod, node) => {
      const conflict = zoned.some((volume) =>
        keys.some((key) => {
          const allowed = volume.metadata.labels?.[key]?.split('__');
          const actual = node.node.metadata.labels?.[key];
          return allowed !== undefined && actual !== undefined && !allowed.includes(actual);
        }),
      );
      return conflict ? rejectPermanently('node(s) had no available volume zone') : undefined;
    },
  });
}

export function isClaimBound(claim: PersistentVolumeClaim): boolean {
  return (claim.spec?.volumeName ?? '') !== '' && claim.status?.phase === 'Bound';
}

function sortClaims(pod: PodInfo, storage: StorageReader) {
  const bound: PersistentVolume[] = [];
  const unbound: { claim: PersistentVolumeClaim; storageClass: StorageClass }[] = [];
  for (const name of pod.claims) {
    const claim = storage.claim(pod.namespace, name);
    if (claim === undefined) return rejectPermanently(`persistentvolumeclaim "${name}" not found`);
    if (claim.metadata.deletionTimestamp !== undefined) {
      return rejectPermanently(`persistentvolumeclaim "${name}" is being deleted`);
    }
    if (claim.status?.phase === 'Lost') {
      return rejectPermanently(
        `persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec?.volumeName ?? ''}"`,
      );
    }
    if (isClaimBound(claim)) {
      const volume = storage.volume(claim.spec?.volumeName ?? '');
      if (volume === undefined) return rejectPermanently(`pvc ${name} is bound to a volume that is not known yet`);
      bound.push(volume);
      continue;
    }
    const storageClass = storage.storageClass(claim.spec?.storageClassName ?? '');
    if (storageClass?.volumeBindingMode !== 'WaitForFirstConsumer') {
      return rejectPermanently('pod has unbound immediate PersistentVolumeClaims');
    }
    unbound.push({ claim, storageClass });
  }
  return { bound, unbound };
}

function planBindings(state: ClaimsState, node: NodeInfo, storage: StorageReader): ClaimBinding[] | undefined {
  const bindings: ClaimBinding[] = [];
  const taken = new Set<string>();
  for (const { claim, storageClass } of state.unbound) {
    const selected = claim.metadata.annotations?.[SELECTED_NODE];
    if (selected !== undefined && selected !== node.name) return undefined;
    const volume = smallestFit(claim, node, { storage, taken });
    if (volume !== undefined) {
      taken.add(volume.metadata.name ?? '');
      bindings.push({ claim, volume });
    } else if (canProvision(storageClass, node)) {
      bindings.push({ claim });
    } else {
      return undefined;
    }
  }
  return bindings;
}

function smallestFit(
  claim: PersistentVolumeClaim,
  node: NodeInfo,
  { storage, taken }: { storage: StorageReader; taken: ReadonlySet<string> },
): PersistentVolume | undefined {
  const claimKey = `${claim.metadata.namespace ?? ''}/${claim.metadata.name ?? ''}`;
  const wanted = toBytes(claim.spec?.resources?.requests?.['storage'] ?? '0');
  const capacity = (volume: PersistentVolume) => toBytes(volume.spec?.capacity?.['storage'] ?? '0');
  const fits = storage.volumes().filter((volume) => {
    const name = volume.metadata.name ?? '';
    const promised = storage.promisedTo(name);
    return (
      !taken.has(name) &&
      (promised === undefined || promised === claimKey) &&
      isFreeFor(volume, claim) &&
      volume.metadata.deletionTimestamp === undefined &&
      (volume.spec?.storageClassName ?? '') === (claim.spec?.storageClassName ?? '') &&
      (volume.spec?.volumeMode ?? 'Filesystem') === (claim.spec?.volumeMode ?? 'Filesystem') &&
      (claim.spec?.accessModes ?? []).every((mode) => volume.spec?.accessModes?.includes(mode) === true) &&
      (claim.spec?.selector === undefined || matchesLabelSelector(claim.spec.selector, volume.metadata.labels ?? {})) &&
      capacity(volume) >= wanted &&
      volumeFitsNode(volume, node)
    );
  });
  return fits.toSorted((a, b) => capacity(a) - capacity(b))[0];
}

function isFreeFor(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const owner = volume.spec?.claimRef;
  if (owner === undefined) return (volume.status?.phase ?? 'Available') === 'Available';
  return (
    owner.name === claim.metadata.name &&
    owner.namespace === claim.metadata.namespace &&
    (owner.uid === undefined || owner.uid === '' || owner.uid === claim.metadata.uid)
  );
}

function volumeFitsNode(volume: PersistentVolume, node: NodeInfo): boolean {
  const required = volume.spec?.nodeAffinity?.required;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesTerm(term, node));
}

function canProvision(storageClass: StorageClass, node: NodeInfo): boolean {
  if (storageClass.provisioner === '' || storageClass.provisioner === NO_PROVISIONER) return false;
  const topologies = storageClass.allowedTopologies ?? [];
  return (
    topologies.length === 0 ||
    topologies.some((term) =>
      (term.matchLabelExpressions ?? []).every(({ key, values }) =>
        values.includes(node.node.metadata.labels?.[key] ?? ''),
      ),
    )
  );
}

function usesOneOf(pod: PodInfo, namespace: string, claims: ReadonlySet<string>): boolean {
  return pod.namespace === namespace && pod.claims.some((name) => claims.has(name));
}

function volumesByDriver(pod: PodInfo, storage: StorageReader): ReadonlyMap<string, ReadonlySet<string>> {
  const drivers = new Map<string, Set<string>>();
  const note = (driver: string, handle: string) => {
    const handles = drivers.get(driver) ?? new Set<string>();
    drivers.set(driver, handles.add(handle));
  };
  for (const name of pod.claims) {
    const claim = storage.claim(pod.namespace, name);
    if (claim === undefined) continue;
    const csi = storage.volume(claim.spec?.volumeName ?? '')?.spec?.csi;
    if (csi !== undefined) note(csi.driver, csi.volumeHandle);
    else {
      // Not provisioned yet: it will count against the provisioner's own driver.
      const provisioner = storage.storageClass(claim.spec?.storageClassName ?? '')?.provisioner;
      if (provisioner !== undefined) note(provisioner, `${pod.namespace}/${name}`);
    }
  }
  return drivers;
}

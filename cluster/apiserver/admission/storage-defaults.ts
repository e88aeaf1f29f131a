// SPDX-License-Identifier: Apache-2.0
// Plugins around storage and defaults of classes: DefaultStorageClass, StorageObjectInUseProtection,
// PersistentVolumeClaimResize, DefaultIngressClass.
import type {
  Ingress,
  IngressClass,
  ObjectMeta,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../machinery/api-types.ts';
import { compare } from '../../machinery/quantities.ts';
import { typed } from '../resources/define.ts';
import type { AdmissionPlugin } from '../resources/definition.ts';
import { isDefaultAnnotation } from '../resources/storage/storage-classes.ts';
import { isFor, refusal } from './attributes.ts';

const ingressDefault = 'ingressclass.kubernetes.io/is-default-class';
const oldIngressClass = 'kubernetes.io/ingress.class';
const protections: Readonly<Record<string, string>> = {
  persistentvolumeclaims: 'kubernetes.io/pvc-protection',
  persistentvolumes: 'kubernetes.io/pv-protection',
};

export const defaultStorageClass: AdmissionPlugin = {
  name: 'DefaultStorageClass',
  mutate(attributes) {
    if (attributes.operation !== 'CREATE' || !isFor(attributes, 'persistentvolumeclaims')) {
      return;
    }
    const claim = attributes.object as unknown as PersistentVolumeClaim;
    const old = claim.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'];
    if (claim.spec === undefined || claim.spec.storageClassName !== undefined || old !== undefined) {
      return;
    }
    const classes = typed<StorageClass>(attributes.context.registry.list('storageclasses.storage.k8s.io'));
    const chosen = newest(classes.filter(({ metadata }) => metadata.annotations?.[isDefaultAnnotation] === 'true'));
    if (chosen?.metadata.name !== undefined) {
      claim.spec.storageClassName = chosen.metadata.name;
    }
  },
};

export const storageObjectInUseProtection: AdmissionPlugin = {
  name: 'StorageObjectInUseProtection',
  mutate(attributes) {
    const { definition, operation, object } = attributes;
    const finalizer = definition.group === '' ? protections[definition.plural] : undefined;
    if (operation !== 'CREATE' || finalizer === undefined || object === undefined) {
      return;
    }
    const given = object.metadata.finalizers ?? [];
    if (!given.includes(finalizer)) {
      object.metadata.finalizers = [...given, finalizer];
    }
  },
};

/** Only bound claims of a class that allows it may grow. */
export const persistentVolumeClaimResize: AdmissionPlugin = {
  name: 'PersistentVolumeClaimResize',
  validate(attributes) {
    if (attributes.operation !== 'UPDATE' || !isFor(attributes, 'persistentvolumeclaims')) {
      return;
    }
    const claim = attributes.object as unknown as PersistentVolumeClaim;
    const old = attributes.old as unknown as PersistentVolumeClaim;
    const size = claim.spec?.resources?.requests?.['storage'];
    const before = old.spec?.resources?.requests?.['storage'];
    if (size === undefined || before === undefined || compare(size, before) <= 0) {
      return;
    }
    if (old.status?.phase !== 'Bound') {
      throw refusal(attributes, 'Only bound persistent volume claims can be expanded');
    }
    const { registry } = attributes.context;
    const volume = registry.get('persistentvolumes', undefined, old.spec?.volumeName ?? '') as unknown as
      | PersistentVolume
      | undefined;
    const className = volume?.spec?.storageClassName ?? old.spec?.storageClassName ?? '';
    const found = registry.get('storageclasses.storage.k8s.io', undefined, className) as unknown as
      | StorageClass
      | undefined;
    if (found?.allowVolumeExpansion !== true) {
      throw refusal(
        attributes,
        'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
      );
    }
  },
};

export const defaultIngressClass: AdmissionPlugin = {
  name: 'DefaultIngressClass',
  mutate(attributes) {
    if (attributes.operation !== 'CREATE' || !isFor(attributes, 'ingresses.networking.k8s.io')) {
      return;
    }
    const ingress = attributes.object as unknown as Ingress;
    const given = ingress.spec?.ingressClassName ?? ingress.metadata.annotations?.[oldIngressClass];
    if (ingress.spec === undefined || given !== undefined) {
      return;
    }
    const classes = typed<IngressClass>(attributes.context.registry.list('ingressclasses.networking.k8s.io'));
    const chosen = newest(classes.filter(({ metadata }) => metadata.annotations?.[ingressDefault] === 'true'));
    if (chosen?.metadata.name !== undefined) {
      ingress.spec.ingressClassName = chosen.metadata.name;
    }
  },
};

/** Of several defaults the last one made counts; of those made at once, the first by name. */
function newest<T extends { metadata: ObjectMeta }>(candidates: readonly T[]): T | undefined {
  return candidates.toSorted((left, right) => {
    const one = left.metadata.creationTimestamp ?? '';
    const other = right.metadata.creationTimestamp ?? '';
    return one === other ? ((left.metadata.name ?? '') < (right.metadata.name ?? '') ? -1 : 1) : one < other ? 1 : -1;
  })[0];
}

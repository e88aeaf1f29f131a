// SPDX-License-Identifier: Apache-2.0
// Rules of a pod's volumes.
import type {
  DownwardAPIVolumeFile,
  KeyToPath,
  ProjectedVolumeSource,
  Volume,
  VolumeProjection,
} from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { validateClaimSpec } from './claims.ts';
import { validateFieldPath, validateResourceField } from './downward.ts';
import { duplicate, forbidden, invalid, messages, oneOf, required } from './fields.ts';
import { dnsLabel, dnsSubdomain } from './names.ts';
import { noBackSteps, validateLocalPath } from './paths.ts';
import { validateQuantity } from './resources.ts';

const downwardPaths = [
  'metadata.annotations',
  'metadata.labels',
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
];
const hostPathTypes = [
  '',
  'DirectoryOrCreate',
  'Directory',
  'FileOrCreate',
  'File',
  'Socket',
  'CharDevice',
  'BlockDevice',
];

export function validateVolumes(volumes: readonly Volume[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [index, volume] of (volumes ?? []).entries()) {
    const at = `${path}[${index}]`;
    if ((volume.name ?? '') === '') {
      errors.push(required(`${at}.name`));
    } else {
      errors.push(...messages(`${at}.name`, volume.name, dnsLabel(volume.name)));
      if (names.has(volume.name)) {
        errors.push(duplicate(`${at}.name`, volume.name));
      }
      names.add(volume.name);
    }
    errors.push(...validateSource(volume, at));
  }
  return errors;
}

function validateSource(volume: Volume, at: string): FieldError[] {
  const errors: FieldError[] = [];
  const given = Object.keys(volume).filter((key) => key !== 'name' && volume[key as keyof Volume] !== undefined);
  for (const field of given.slice(1)) {
    errors.push(forbidden(`${at}.${field}`, 'may not specify more than 1 volume type'));
  }
  if (given.length === 0) {
    errors.push(required(at, 'must specify a volume type'));
  }
  if (volume.emptyDir?.sizeLimit !== undefined) {
    errors.push(...validateQuantity(volume.emptyDir.sizeLimit, `${at}.emptyDir.sizeLimit`));
  }
  if (volume.hostPath !== undefined) {
    const { path, type = '' } = volume.hostPath;
    errors.push(
      ...((path ?? '') === '' ? [required(`${at}.hostPath.path`)] : noBackSteps(path, `${at}.hostPath.path`)),
      ...(hostPathTypes.includes(type) ? [] : oneOf(`${at}.hostPath.type`, type, hostPathTypes.slice(1))),
    );
  }
  if (volume.secret !== undefined) {
    errors.push(
      ...((volume.secret.secretName ?? '') === '' ? [required(`${at}.secret.secretName`)] : []),
      ...validateMode(volume.secret.defaultMode, `${at}.secret.defaultMode`),
      ...validateItems(volume.secret.items, `${at}.secret.items`),
    );
  }
  if (volume.configMap !== undefined) {
    errors.push(
      ...((volume.configMap.name ?? '') === '' ? [required(`${at}.configMap.name`)] : []),
      ...validateMode(volume.configMap.defaultMode, `${at}.configMap.defaultMode`),
      ...validateItems(volume.configMap.items, `${at}.configMap.items`),
    );
  }
  if (volume.downwardAPI !== undefined) {
    errors.push(
      ...validateMode(volume.downwardAPI.defaultMode, `${at}.downwardAPI.defaultMode`),
      ...(volume.downwardAPI.items ?? []).flatMap((file) => validateDownwardFile(file, `${at}.downwardAPI`)),
    );
  }
  if (volume.projected !== undefined) {
    errors.push(...validateProjected(volume.projected, `${at}.projected`));
  }
  if (volume.persistentVolumeClaim !== undefined && (volume.persistentVolumeClaim.claimName ?? '') === '') {
    errors.push(required(`${at}.persistentVolumeClaim.claimName`));
  }
  if (volume.csi !== undefined) {
    errors.push(
      ...((volume.csi.driver ?? '') === ''
        ? [required(`${at}.csi.driver`)]
        : messages(`${at}.csi.driver`, volume.csi.driver, dnsSubdomain(volume.csi.driver.toLowerCase()))),
    );
  }
  if (volume.nfs !== undefined) {
    errors.push(
      ...((volume.nfs.server ?? '') === '' ? [required(`${at}.nfs.server`)] : []),
      ...((volume.nfs.path ?? '') === '' ? [required(`${at}.nfs.path`)] : []),
    );
  }
  if (volume.ephemeral !== undefined) {
    const template = volume.ephemeral.volumeClaimTemplate;
    errors.push(
      ...(template === undefined
        ? [required(`${at}.ephemeral.volumeClaimTemplate`)]
        : validateClaimSpec(template.spec ?? {}, `${at}.ephemeral.volumeClaimTemplate.spec`)),
    );
  }
  return errors;
}

function validateProjected(source: ProjectedVolumeSource, at: string): FieldError[] {
  const errors = validateMode(source.defaultMode, `${at}.defaultMode`);
  const paths = new Set<string>();
  for (const [index, projection] of (source.sources ?? []).entries()) {
    const path = `${at}.sources[${index}]`;
    errors.push(...validateProjection(projection, path));
    for (const file of pathsOf(projection)) {
      if (file !== '' && paths.has(file)) {
        errors.push(invalid(path, file, 'conflicting duplicate paths'));
      }
      paths.add(file);
    }
  }
  return errors;
}

function validateProjection(projection: VolumeProjection, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const given = Object.values(projection).filter((value) => value !== undefined).length;
  if (given > 1) {
    errors.push(forbidden(path, 'may not specify more than 1 volume type'));
  }
  for (const field of ['secret', 'configMap'] as const) {
    const reference = projection[field];
    if (reference !== undefined) {
      errors.push(
        ...((reference.name ?? '') === '' ? [required(`${path}.${field}.name`)] : []),
        ...validateItems(reference.items, `${path}.${field}.items`),
      );
    }
  }
  errors.push(
    ...(projection.downwardAPI?.items ?? []).flatMap((file) => validateDownwardFile(file, `${path}.downwardAPI`)),
  );
  const token = projection.serviceAccountToken;
  if (token !== undefined) {
    const seconds = token.expirationSeconds ?? 3600;
    if (seconds < 600) {
      errors.push(
        invalid(
          `${path}.serviceAccountToken.expirationSeconds`,
          seconds,
          'may not specify a duration less than 10 minutes',
        ),
      );
    } else if (seconds > 2 ** 32) {
      errors.push(
        invalid(
          `${path}.serviceAccountToken.expirationSeconds`,
          seconds,
          'may not specify a duration larger than 2^32 seconds',
        ),
      );
    }
    errors.push(
      ...((token.path ?? '') === ''
        ? [required(`${path}.serviceAccountToken.path`)]
        : validateLocalPath(token.path, `${path}.serviceAccountToken.path`)),
    );
  }
  return errors;
}

function pathsOf(projection: VolumeProjection): string[] {
  return [
    ...(projection.secret?.items ?? []).map((item) => item.path),
    ...(projection.configMap?.items ?? []).map((item) => item.path),
    ...(projection.downwardAPI?.items ?? []).map((item) => item.path),
    ...(projection.serviceAccountToken === undefined ? [] : [projection.serviceAccountToken.path]),
  ];
}

function validateItems(items: readonly KeyToPath[] | undefined, at: string): FieldError[] {
  return (items ?? []).flatMap((item, index) => [
    ...((item.key ?? '') === '' ? [required(`${at}[${index}].key`)] : []),
    ...((item.path ?? '') === ''
      ? [required(`${at}[${index}].path`)]
      : validateLocalPath(item.path, `${at}[${index}].path`)),
    ...validateMode(item.mode, `${at}[${index}].mode`),
  ]);
}

function validateDownwardFile(file: DownwardAPIVolumeFile, at: string): FieldError[] {
  const errors: FieldError[] = [
    ...((file.path ?? '') === '' ? [required(`${at}.path`)] : validateLocalPath(file.path, `${at}.path`)),
    ...validateMode(file.mode, `${at}.mode`),
  ];
  if (file.fieldRef !== undefined) {
    errors.push(...validateFieldPath(file.fieldRef.fieldPath, `${at}.fieldRef`, downwardPaths));
    if (file.resourceFieldRef !== undefined) {
      errors.push(invalid(at, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously'));
    }
  } else if (file.resourceFieldRef === undefined) {
    errors.push(required(at, 'one of fieldRef and resourceFieldRef is required'));
  } else {
    errors.push(...validateResourceField(file.resourceFieldRef.resource, `${at}.resourceFieldRef`));
    if ((file.resourceFieldRef.containerName ?? '') === '') {
      errors.push(required(`${at}.resourceFieldRef.containerName`));
    }
  }
  return errors;
}

function validateMode(mode: number | undefined, field: string): FieldError[] {
  return mode !== undefined && (mode < 0 || mode > 0o777)
    ? [invalid(field, mode, 'must be a number between 0 and 0777 (octal), both inclusive')]
    : [];
}

// SPDX-License-Identifier: Apache-2.0
// Which files a configMap, secret, downwardAPI or projected volume holds. Pure apart from the look-ups it is given. A missing object that
// isn't optional is an error that says which.
import type {
  ConfigMap,
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  Secret,
  ServiceAccountTokenProjection,
  Volume,
} from '../../machinery/api-types.ts';
import { ConfigurationError, fieldValue, resourceValue } from '../containers/environment.ts';
import type { FieldContext } from '../containers/environment.ts';
import { specOf } from '../pods/pod-facts.ts';
import type { VolumeFile } from './atomic-files.ts';

export interface ContentSources extends FieldContext {
  readonly configMap: (name: string) => Promise<ConfigMap | undefined>;
  readonly secret: (name: string) => Promise<Secret | undefined>;
  readonly token: (projection: ServiceAccountTokenProjection) => Promise<string>;
}

/** True for volumes whose content this module makes. */
export function hasFileContent(volume: Volume): boolean {
  return Boolean(volume.configMap ?? volume.secret ?? volume.downwardAPI ?? volume.projected);
}

/** True when the content must not touch a disk. */
export function isSensitive(volume: Volume): boolean {
  const sources = volume.projected?.sources ?? [];
  return volume.secret !== undefined || sources.some((source) => source.secret ?? source.serviceAccountToken);
}

export async function volumeFiles(volume: Volume, sources: ContentSources): Promise<Map<string, VolumeFile>> {
  const files = new Map<string, VolumeFile>();
  if (volume.configMap) {
    const { name = '', items, optional } = volume.configMap;
    await addConfigMap(files, { name, items, optional, mode: volume.configMap.defaultMode ?? 0o644, sources });
  } else if (volume.secret) {
    const { secretName = '', items, optional } = volume.secret;
    await addSecret(files, { name: secretName, items, optional, mode: volume.secret.defaultMode ?? 0o644, sources });
  } else if (volume.downwardAPI) {
    addDownward(files, {
      items: volume.downwardAPI.items ?? [],
      mode: volume.downwardAPI.defaultMode ?? 0o644,
      sources,
    });
  } else if (volume.projected) {
    const mode = volume.projected.defaultMode ?? 0o644;
    for (const source of volume.projected.sources ?? []) {
      if (source.configMap) {
        const { name = '', items, optional } = source.configMap;
        await addConfigMap(files, { name, items, optional, mode, sources });
      }
      if (source.secret) {
        const { name = '', items, optional } = source.secret;
        await addSecret(files, { name, items, optional, mode, sources });
      }
      if (source.downwardAPI) addDownward(files, { items: source.downwardAPI.items ?? [], mode, sources });
      if (source.serviceAccountToken) {
        const data = Buffer.from(await sources.token(source.serviceAccountToken));
        files.set(clean(source.serviceAccountToken.path), { data, ...tokenOwnership(sources.pod, mode) });
      }
      if (source.clusterTrustBundle)
        throw new ConfigurationError('clusterTrustBundle projections are not supported by this kubelet');
    }
  }
  return files;
}

/** A token is for the pod's user alone where that user is known, for its fsGroup where there is one, else as the mode says. */
function tokenOwnership(pod: Pod, mode: number): { mode: number; uid?: number } {
  const spec = specOf(pod);
  if (spec.securityContext?.fsGroup !== undefined) return { mode: 0o600 };
  const users = new Set(
    [...spec.containers, ...(spec.initContainers ?? [])].map(
      (container) => container.securityContext?.runAsUser ?? spec.securityContext?.runAsUser,
    ),
  );
  const [user] = users;
  return users.size === 1 && user !== undefined ? { mode: 0o600, uid: user } : { mode };
}

interface ObjectFiles {
  readonly name: string;
  readonly items: readonly KeyToPath[] | undefined;
  readonly optional: boolean | undefined;
  readonly mode: number;
  readonly sources: ContentSources;
}

async function addConfigMap(files: Map<string, VolumeFile>, request: ObjectFiles): Promise<void> {
  const found = await request.sources.configMap(request.name);
  if (found) addKeys(files, configMapData(found), { ...request, kind: 'configmap' });
  else if (!request.optional) throw new ConfigurationError(`configmap "${request.name}" not found`);
}

async function addSecret(files: Map<string, VolumeFile>, request: ObjectFiles): Promise<void> {
  const found = await request.sources.secret(request.name);
  if (found) addKeys(files, secretData(found), { ...request, kind: 'secret' });
  else if (!request.optional) throw new ConfigurationError(`secret "${request.name}" not found`);
}

function addKeys(
  files: Map<string, VolumeFile>,
  data: Record<string, Buffer>,
  request: ObjectFiles & { kind: string },
): void {
  if (!request.items?.length) {
    for (const [key, value] of Object.entries(data)) files.set(clean(key), { data: value, mode: request.mode });
    return;
  }
  for (const item of request.items) {
    const value = data[item.key];
    if (value !== undefined) files.set(clean(item.path), { data: value, mode: item.mode ?? request.mode });
    else if (!request.optional) {
      throw new ConfigurationError(
        `references non-existent ${request.kind === 'secret' ? 'secret' : 'config'} key: ${item.key}`,
      );
    }
  }
}

function addDownward(
  files: Map<string, VolumeFile>,
  request: { items: readonly DownwardAPIVolumeFile[]; mode: number; sources: ContentSources },
): void {
  for (const item of request.items) {
    let text = '';
    if (item.fieldRef) text = fieldValue(item.fieldRef.fieldPath, request.sources);
    else if (item.resourceFieldRef) {
      const { containerName, resource, divisor } = item.resourceFieldRef;
      const spec = specOf(request.sources.pod);
      const container = [...spec.containers, ...(spec.initContainers ?? [])].find((one) => one.name === containerName);
      text = resourceValue(container ?? {}, resource, { divisor, allocatable: request.sources.allocatable });
    }
    files.set(clean(item.path), { data: Buffer.from(text), mode: item.mode ?? request.mode });
  }
}

/** A relative path that stays inside. */
function clean(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (path.startsWith('/') || parts.length === 0 || parts.includes('..') || parts[0]?.startsWith('..')) {
    throw new ConfigurationError(
      `invalid path ${JSON.stringify(path)}: must be relative and not contain or start with ".."`,
    );
  }
  return parts.join('/');
}

export function configMapData(object: ConfigMap): Record<string, Buffer> {
  const data: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(object.data ?? {})) data[key] = Buffer.from(value);
  for (const [key, value] of Object.entries(object.binaryData ?? {}))
    data[key] = Buffer.from(value as string, 'base64');
  return data;
}

export function secretData(object: Secret): Record<string, Buffer> {
  const data: Record<string, Buffer> = {};
  for (const [key, value] of Object.entries(object.data ?? {})) data[key] = Buffer.from(value as string, 'base64');
  return data;
}

// SPDX-License-Identifier: Apache-2.0
// ServiceAccount: gives every pod an identity, and the files with which it proves it.
import type { Container, Pod, PodSpec, ServiceAccount, Volume } from '../../machinery/api-types.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { createdPod, namespaceOf, refusal } from './attributes.ts';

const mountPath = '/var/run/secrets/kubernetes.io/serviceaccount';
const mirrorAnnotation = 'kubernetes.io/config.mirror';
/** The controller makes the default account right after a namespace; a pod that comes at once waits for it that long. */
const patienceMs = 1500;
const pollMs = 25;
const suffixCharacters = 'bcdfghjklmnpqrstvwxz2456789';

export const serviceAccount: AdmissionPlugin = {
  name: 'ServiceAccount',
  async mutate(attributes) {
    const pod = createdPod(attributes);
    if (pod?.spec === undefined || isMirror(pod)) {
      return;
    }
    const { spec } = pod;
    if ((spec.serviceAccountName ?? '') === '') {
      spec.serviceAccountName = 'default';
    }
    const account = await findAccount(attributes, spec.serviceAccountName ?? 'default');
    spec.serviceAccount = spec.serviceAccountName ?? 'default';
    if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true) {
      mountToken(spec);
    }
    if ((spec.imagePullSecrets ?? []).length === 0 && (account.imagePullSecrets ?? []).length > 0) {
      spec.imagePullSecrets = structuredClone(account.imagePullSecrets ?? []);
    }
  },
  validate(attributes) {
    const pod = createdPod(attributes);
    if (pod?.spec === undefined || !isMirror(pod)) {
      return;
    }
    if ((pod.spec.serviceAccountName ?? '') !== '') {
      throw refusal(attributes, 'a mirror pod may not reference service accounts');
    }
    if ((pod.spec.volumes ?? []).some(({ secret }) => secret !== undefined)) {
      throw refusal(attributes, 'a mirror pod may not reference secrets');
    }
  },
};

function isMirror(pod: Pod): boolean {
  return pod.metadata.annotations?.[mirrorAnnotation] !== undefined;
}

async function findAccount(attributes: AdmissionAttributes, name: string): Promise<ServiceAccount> {
  const namespace = namespaceOf(attributes);
  const look = () =>
    attributes.context.registry.get('serviceaccounts', namespace, name) as unknown as ServiceAccount | undefined;
  let found = look();
  const until = Date.now() + patienceMs;
  while (found === undefined && name === 'default' && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    found = look();
  }
  if (found === undefined) {
    throw refusal(
      attributes,
      `error looking up service account ${namespace}/${name}: serviceaccount ${JSON.stringify(name)} not found`,
    );
  }
  return found;
}

/** Mounts the token wherever a container has nothing at that path yet. */
function mountToken(spec: PodSpec): void {
  const needing = [...spec.containers, ...(spec.initContainers ?? [])].filter((container) => !hasMount(container));
  if (needing.length === 0) {
    return;
  }
  const name = volumeName(spec);
  for (const container of needing) {
    container.volumeMounts = [...(container.volumeMounts ?? []), { name, readOnly: true, mountPath }];
  }
  if ((spec.volumes ?? []).every((volume) => volume.name !== name)) {
    spec.volumes = [...(spec.volumes ?? []), tokenVolume(name)];
  }
}

function hasMount(container: Container): boolean {
  return (container.volumeMounts ?? []).some((mount) => mount.mountPath === mountPath);
}

/** A volume that a client copied from another pod is used again. */
function volumeName(spec: PodSpec): string {
  const existing = (spec.volumes ?? []).find(({ name }) => name.startsWith('kube-api-access-'));
  if (existing !== undefined) {
    return existing.name;
  }
  // Nothing depends on nobody guessing it; cryptographic randomness would be the costliest part of admission.
  const letter = (): string => suffixCharacters.charAt(Math.floor(Math.random() * suffixCharacters.length));
  return `kube-api-access-${letter()}${letter()}${letter()}${letter()}${letter()}`;
}

function tokenVolume(name: string): Volume {
  return {
    name,
    projected: {
      sources: [
        // A little over an hour, by which upstream tells its own tokens from those asked for.
        { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
      defaultMode: 0o644,
    },
  };
}

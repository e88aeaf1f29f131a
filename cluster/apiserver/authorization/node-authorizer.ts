// SPDX-License-Identifier: Apache-2.0
// Kubelets get at what the pods on their own node refer to, and no further. Which node a pod is on, and what it refers to, is
// read off the pods in the store when a kubelet asks.
import type { PersistentVolume, PersistentVolumeClaim, Pod, PodSpec } from '../../machinery/api-types.ts';
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { ruleAllows } from './rbac.ts';
import { nodeRules } from './rbac-defaults.ts';

export interface NodeAuthorizer {
  /** Undefined when the request is not a kubelet's, or is none of the node authorizer's business. */
  decide(attributes: AccessAttributes): AccessDecision | undefined;
}

const nodeUserPrefix = 'system:node:';
const nodesGroup = 'system:nodes';
const reading = new Set(['get', 'list', 'watch']);

export function createNodeAuthorizer(
  registry: Pick<Registry, 'get'>,
  podsOfNode: (node: string) => readonly KubeObject[],
): NodeAuthorizer {
  function pods(node: string): readonly Pod[] {
    return podsOfNode(node) as unknown as readonly Pod[];
  }

  function volumeOfPods(node: string, name: string): boolean {
    const volume = registry.get('persistentvolumes', undefined, name) as unknown as PersistentVolume | undefined;
    const claim = volume?.spec?.claimRef;
    return (
      claim !== undefined &&
      pods(node).some((pod) => pod.metadata?.namespace === claim.namespace && claimsOf(pod).includes(claim.name ?? ''))
    );
  }

  function refersTo(node: string, resource: string, namespace: string, name: string): boolean {
    switch (resource) {
      case 'secrets':
        return pods(node).some(
          (pod) =>
            pod.metadata?.namespace === namespace &&
            (secretsOf(pod.spec).has(name) || secretsOfVolumes(registry, pod).has(`${namespace}/${name}`)),
        );
      case 'configmaps':
        return pods(node).some((pod) => pod.metadata?.namespace === namespace && configMapsOf(pod.spec).has(name));
      case 'persistentvolumeclaims':
        return pods(node).some((pod) => pod.metadata?.namespace === namespace && claimsOf(pod).includes(name));
      case 'persistentvolumes':
        return volumeOfPods(node, name);
      default:
        return false;
    }
  }

  return {
    decide(attributes) {
      const { user, verb, group = '', resource = '', subresource, namespace = '', name = '' } = attributes;
      if (attributes.path !== undefined || !user.groups.includes(nodesGroup) || !user.name.startsWith(nodeUserPrefix)) {
        return undefined;
      }
      const node = user.name.slice(nodeUserPrefix.length);
      const denied = (reason: string): AccessDecision => ({ allowed: false, reason });
      const noRelation = denied(`no relationship found between node '${node}' and this object`);
      switch (group === '' ? resource : `${resource}.${group}`) {
        case 'secrets':
        case 'configmaps':
        case 'persistentvolumeclaims':
        case 'persistentvolumes':
          if (subresource !== undefined) {
            return resource === 'persistentvolumeclaims' &&
              subresource === 'status' &&
              refersTo(node, resource, namespace, name)
              ? { allowed: true }
              : denied('cannot access subresources');
          }
          if (!reading.has(verb)) {
            return denied('can only read resources of this type');
          }
          if (name === '') {
            return denied('No Object name found');
          }
          return refersTo(node, resource, namespace, name) ? { allowed: true } : noRelation;
        case 'volumeattachments.storage.k8s.io': {
          const attachment = registry.get('volumeattachments.storage.k8s.io', undefined, name);
          const spec = attachment?.['spec'] as { nodeName?: string } | undefined;
          return verb === 'get' && spec?.nodeName === node ? { allowed: true } : noRelation;
        }
        case 'serviceaccounts':
          if (verb === 'create' && subresource === 'token') {
            return pods(node).some(
              (pod) => pod.metadata?.namespace === namespace && (pod.spec?.serviceAccountName ?? 'default') === name,
            )
              ? { allowed: true }
              : noRelation;
          }
          break;
        case 'leases.coordination.k8s.io':
          return ownObject({ node, name, verb, namespace, wantedNamespace: 'kube-node-lease' });
        case 'csinodes.storage.k8s.io':
          return ownObject({ node, name, verb, namespace, wantedNamespace: '' });
        default:
          break;
      }
      return nodeRules.some((rule) => ruleAllows(rule, attributes)) ? { allowed: true } : undefined;
    },
  };
}

function ownObject(request: {
  node: string;
  name: string;
  verb: string;
  namespace: string;
  wantedNamespace: string;
}): AccessDecision {
  const { node, name, verb, namespace, wantedNamespace } = request;
  const mine = namespace === wantedNamespace && (name === node || verb === 'create');
  return mine && ['get', 'create', 'update', 'patch', 'delete'].includes(verb)
    ? { allowed: true }
    : { allowed: false, reason: `can only access the object of the same name as the node '${node}'` };
}

function claimsOf(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim !== undefined) {
      return [volume.persistentVolumeClaim.claimName];
    }
    return volume.ephemeral === undefined ? [] : [`${pod.metadata?.name}-${volume.name}`];
  });
}

function secretsOf(spec: PodSpec | undefined): Set<string> {
  const names = new Set((spec?.imagePullSecrets ?? []).map((reference) => reference.name ?? ''));
  collect(spec, 'secretRef', names);
  collect(spec, 'secretKeyRef', names);
  collect(spec, 'nodePublishSecretRef', names);
  for (const volume of spec?.volumes ?? []) {
    if (volume.secret?.secretName !== undefined) {
      names.add(volume.secret.secretName);
    }
    for (const source of volume.projected?.sources ?? []) {
      if (source.secret?.name !== undefined) {
        names.add(source.secret.name);
      }
    }
  }
  return names;
}

/** Secrets that CSI volumes of the pod's claims need on the node, as `namespace/name`. */
function secretsOfVolumes(registry: Pick<Registry, 'get'>, pod: Pod): Set<string> {
  const names = new Set<string>();
  for (const claimName of claimsOf(pod)) {
    const claim = registry.get('persistentvolumeclaims', pod.metadata?.namespace, claimName) as unknown as
      | PersistentVolumeClaim
      | undefined;
    const volumeName = claim?.spec?.volumeName;
    const volume =
      volumeName === undefined
        ? undefined
        : (registry.get('persistentvolumes', undefined, volumeName) as unknown as PersistentVolume | undefined);
    const csi = volume?.spec?.csi;
    for (const reference of [csi?.nodePublishSecretRef, csi?.nodeStageSecretRef, csi?.nodeExpandSecretRef]) {
      if (reference !== undefined) {
        names.add(`${reference.namespace}/${reference.name}`);
      }
    }
  }
  return names;
}

function configMapsOf(spec: PodSpec | undefined): Set<string> {
  const names = new Set<string>();
  collect(spec, 'configMapRef', names);
  collect(spec, 'configMapKeyRef', names);
  for (const volume of spec?.volumes ?? []) {
    if (volume.configMap?.name !== undefined) {
      names.add(volume.configMap.name);
    }
    for (const source of volume.projected?.sources ?? []) {
      if (source.configMap?.name !== undefined) {
        names.add(source.configMap.name);
      }
    }
  }
  return names;
}

/** Names under a key anywhere in a pod's spec, such as `secretKeyRef: {name}`. */
function collect(value: unknown, key: string, names: Set<string>): void {
  if (Array.isArray(value)) {
    for (const item of value) {
      collect(item, key, names);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, part] of Object.entries(value)) {
      if (name === key) {
        names.add((part as { name?: string }).name ?? '');
      } else {
        collect(part, key, names);
      }
    }
  }
}

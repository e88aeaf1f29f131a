// SPDX-License-Identifier: Apache-2.0
// serviceaccounts/token: mints a token for a service account, bound to a pod, secret or node if asked.
import type { AuthenticationV1TokenRequest, BoundObjectReference, Pod } from '../../../machinery/api-types.ts';
import { badRequest, conflict, invalid, notFound } from '../../status.ts';
import type { ResourcesConfig, TokenClaims } from '../config.ts';
import type { KubeObject, RequestContext, SubresourceDefinition } from '../definition.ts';
import { invalid as invalidField } from '../validation/fields.ts';
import { timestamp } from './timestamps.ts';

const defaultSeconds = 3600;
const leastSeconds = 600;
const boundKinds: Readonly<Record<string, string>> = { Pod: 'pods', Secret: 'secrets', Node: 'nodes' };

export function tokenSubresource(config: ResourcesConfig): SubresourceDefinition {
  return {
    kind: 'TokenRequest',
    group: 'authentication.k8s.io',
    version: 'v1',
    verbs: ['create'],
    async handle({ context, parent, body }) {
      const request = (body ?? {}) as unknown as AuthenticationV1TokenRequest;
      const { name = '', namespace = '' } = parent.metadata;
      const audiences = request.spec?.audiences ?? [];
      const expirationSeconds = request.spec?.expirationSeconds ?? defaultSeconds;
      checkDuration(expirationSeconds, name);
      const claims: TokenClaims = {
        namespace,
        serviceAccount: parent,
        audiences: audiences.length === 0 ? config.apiAudiences : audiences,
        expirationSeconds,
        ...boundTo(request.spec?.boundObjectRef, parent, context),
      };
      const status = context.dryRun
        ? { token: '', expirationTimestamp: timestamp(Date.now() + expirationSeconds * 1000) }
        : await config.mintToken(claims);
      const object = {
        kind: 'TokenRequest',
        apiVersion: 'authentication.k8s.io/v1',
        metadata: { name, namespace, creationTimestamp: timestamp() },
        spec: { ...request.spec, audiences: [...claims.audiences], expirationSeconds },
        status,
      };
      return { status: 201, object };
    },
  };
}

function checkDuration(seconds: number, name: string): void {
  const why =
    seconds < leastSeconds
      ? 'may not specify a duration less than 10 minutes'
      : seconds > 2 ** 32
        ? 'may not specify a duration larger than 2^32 seconds'
        : undefined;
  if (why !== undefined) {
    throw invalid({ group: 'authentication.k8s.io', kind: 'TokenRequest' }, name, [
      invalidField('spec.expirationSeconds', seconds, why),
    ]);
  }
}

function boundTo(
  reference: BoundObjectReference | undefined,
  account: KubeObject,
  context: RequestContext,
): Pick<TokenClaims, 'boundObject' | 'node'> {
  if (reference === undefined) {
    return {};
  }
  const { kind = '', name = '', apiVersion = 'v1' } = reference;
  const plural = boundKinds[kind];
  if (plural === undefined || apiVersion !== 'v1') {
    throw badRequest(`cannot bind token for serviceaccount to object of type ${apiVersion}, Kind=${kind}`);
  }
  const namespace = account.metadata.namespace;
  const object = context.registry.get(plural, kind === 'Node' ? undefined : namespace, name);
  if (object === undefined) {
    throw notFound({ group: '', plural }, name);
  }
  const uid = object.metadata.uid ?? '';
  if ((reference.uid ?? '') !== '' && reference.uid !== uid) {
    throw conflict(
      { group: '', plural },
      name,
      `the UID in the bound object reference (${reference.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  }
  const boundObject = { kind, apiVersion, name, uid };
  if (kind !== 'Pod') {
    return { boundObject };
  }
  const { spec } = object as unknown as Pod;
  if (spec?.serviceAccountName !== account.metadata.name) {
    throw badRequest(
      `cannot bind token for serviceaccount ${JSON.stringify(account.metadata.name)} to pod running with different serviceaccount name.`,
    );
  }
  const nodeName = spec?.nodeName ?? '';
  if (nodeName === '') {
    return { boundObject };
  }
  const nodeUid = context.registry.get('nodes', undefined, nodeName)?.metadata.uid;
  return { boundObject, node: { name: nodeName, ...(nodeUid !== undefined && { uid: nodeUid }) } };
}

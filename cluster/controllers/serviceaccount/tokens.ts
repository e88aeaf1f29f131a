// SPDX-License-Identifier: Apache-2.0
// Fills Secrets of type kubernetes.io/service-account-token, which people still write by hand to get a token that does
// not expire, and removes them when their account is gone.
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import type { Secret, ServiceAccount } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

export const serviceAccountTokenController: Controller = { name: 'serviceaccount-token-controller', setup };

const secretType = 'kubernetes.io/service-account-token';
const nameAnnotation = 'kubernetes.io/service-account.name';
const uidAnnotation = 'kubernetes.io/service-account.uid';

function setup({ client, informers, settings }: ControllerContext): Running {
  const { serviceAccountPrivateKey, rootCa } = settings;
  if (!serviceAccountPrivateKey) return {};
  const accounts = informers.get<ServiceAccount>(resources.serviceAccounts);
  const secrets = informers.get<Secret>(resources.secrets);
  const queue = new WorkQueue({ name: 'serviceaccount-token-controller', reconcile });
  secrets.onChange(({ type, object }) => {
    if (type !== 'deleted' && object.type === secretType) queue.add(keyOf(object));
  });
  accounts.onChange(({ type, object }) => {
    if (type === 'updated') return;
    for (const secret of secrets.list(object.metadata.namespace)) {
      if (secret.type === secretType && secret.metadata.annotations?.[nameAnnotation] === object.metadata.name)
        queue.add(keyOf(secret));
    }
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace = '' } = splitKey(key);
    const secret = secrets.get(name, namespace);
    if (secret?.type !== secretType || secret.metadata.deletionTimestamp) return;
    const { annotations } = secret.metadata;
    const account = accounts.get(annotations?.[nameAnnotation] ?? '', namespace);
    const uid = account?.metadata.uid;
    if (!account || !uid || (annotations?.[uidAnnotation] && annotations[uidAnnotation] !== uid)) {
      await removeUnlessLive(secret, annotations?.[nameAnnotation] ?? '');
      return;
    }
    const wanted: Record<string, string> = {
      ...(rootCa && { 'ca.crt': rootCa }),
      namespace,
      token: legacyToken(serviceAccountPrivateKey ?? '', {
        namespace,
        secret: name,
        account: account.metadata.name ?? '',
        uid,
      }),
    };
    const data: Record<string, string> = { ...secret.data };
    for (const [field, value] of Object.entries(wanted))
      if (!data[field]) data[field] = Buffer.from(value).toString('base64');
    if (annotations?.[uidAnnotation] === uid && Object.keys(wanted).every((field) => secret.data?.[field])) return;
    const metadata = { ...secret.metadata, annotations: { ...annotations, [uidAnnotation]: uid } };
    await client.update(resources.secrets, { ...secret, metadata, data });
  }

  /** The cache of accounts may be behind; only the server knows that an account is gone. */
  async function removeUnlessLive(secret: Secret, accountName: string): Promise<void> {
    const { name = '', namespace, uid, annotations } = secret.metadata;
    try {
      const live = await client.get<ServiceAccount>(resources.serviceAccounts, accountName, namespace);
      if (!annotations?.[uidAnnotation] || annotations[uidAnnotation] === live.metadata.uid) {
        throw new Error(`service account ${accountName} is not in the cache yet`);
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    await client.delete(resources.secrets, name, { namespace, uid }).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
  }

  return { queues: [queue] };
}

/** A JSON Web Token of the older kind: bound to its Secret, without an end. `key` is PEM, RSA or ECDSA P-256. */
export function legacyToken(
  key: string,
  subject: { namespace: string; secret: string; account: string; uid: string },
): string {
  const privateKey = createPrivateKey(key);
  const publicDer = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const kid = createHash('sha256').update(publicDer).digest('base64url');
  const rsa = privateKey.asymmetricKeyType === 'rsa';
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const prefix = 'kubernetes.io/serviceaccount';
  const signed = `${encode({ alg: rsa ? 'RS256' : 'ES256', kid })}.${encode({
    iss: 'kubernetes/serviceaccount',
    [`${prefix}/namespace`]: subject.namespace,
    [`${prefix}/secret.name`]: subject.secret,
    [`${prefix}/service-account.name`]: subject.account,
    [`${prefix}/service-account.uid`]: subject.uid,
    sub: `system:serviceaccount:${subject.namespace}:${subject.account}`,
  })}`;
  const signature = sign(
    'sha256',
    Buffer.from(signed),
    rsa ? privateKey : { key: privateKey, dsaEncoding: 'ieee-p1363' },
  );
  return `${signed}.${signature.toString('base64url')}`;
}

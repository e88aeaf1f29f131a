// SPDX-License-Identifier: Apache-2.0
// Service-account tokens: JWTs signed with ES256 or RS256, bound to the account and, if asked, to a pod, secret or node. They
// die with what they are bound to.
import { createHash, createPrivateKey, createPublicKey, createSign, createVerify, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { TokenClaims } from '../resources/config.ts';
import type { KubeObject, Registry, UserInfo } from '../resources/definition.ts';

export interface TokenAuthenticator {
  /** `audiences` undefined means those of the API server. Undefined for tokens that are not ours. */
  authenticate(
    token: string,
    audiences: readonly string[] | undefined,
  ): Promise<{ user: UserInfo; audiences: readonly string[] } | { error: string } | undefined>;
}

export interface TokenService extends TokenAuthenticator {
  mint(claims: TokenClaims): Promise<{ token: string; expirationTimestamp: string }>;
  /** The JSON Web Key Set of `/openid/v1/jwks`. */
  keySet(): object;
  readonly algorithms: readonly string[];
}

export interface TokenServiceOptions {
  readonly issuer: string;
  /** PEM texts, public or private; the keys that tokens may be signed with. */
  readonly verificationKeys: readonly string[];
  /** PEM text. */
  readonly signingKey: string;
  readonly apiAudiences: readonly string[];
  readonly registry: Registry;
  readonly now: () => number;
}

type Algorithm = 'ES256' | 'RS256';

interface VerificationKey {
  readonly id: string;
  readonly key: KeyObject;
  readonly algorithm: Algorithm;
}

interface ObjectReference {
  readonly name: string;
  readonly uid?: string;
}

interface Payload {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string | readonly string[];
  readonly exp: number;
  readonly nbf?: number;
  readonly iat?: number;
  readonly jti?: string;
  readonly 'kubernetes.io'?: {
    readonly namespace: string;
    readonly serviceaccount: ObjectReference;
    readonly pod?: ObjectReference;
    readonly secret?: ObjectReference;
    readonly node?: ObjectReference;
  };
}

/** Issuer of the tokens in Secrets of type kubernetes.io/service-account-token: they have no audience and do not expire. */
const legacyIssuer = 'kubernetes/serviceaccount';

/** Verified tokens are remembered: a signature costs more than everything else about a request. */
const verifiedCacheSize = 2_000;

export function createTokenService(options: TokenServiceOptions): TokenService {
  const signer = createPrivateKey(options.signingKey);
  const signing = describeKey(createPublicKey(signer));
  const keys = uniqueKeys([...options.verificationKeys.map((pem) => describeKey(createPublicKey(pem))), signing]);
  const verified = new Map<string, Payload>();

  function payloadOf(token: string): Payload | undefined {
    const known = verified.get(token);
    if (known !== undefined) {
      return known;
    }
    const payload = verify(token, keys);
    if (payload !== undefined) {
      if (verified.size >= verifiedCacheSize) {
        verified.clear();
      }
      verified.set(token, payload);
    }
    return payload;
  }

  return {
    algorithms: [...new Set(keys.map(({ algorithm }) => algorithm))],
    keySet: () => ({
      keys: keys.map(({ id, key, algorithm }) => ({
        ...key.export({ format: 'jwk' }),
        use: 'sig',
        kid: id,
        alg: algorithm,
      })),
    }),
    async mint(claims) {
      const now = Math.floor(options.now() / 1000);
      const exp = now + claims.expirationSeconds;
      const { metadata } = claims.serviceAccount;
      const bound = claims.boundObject;
      const payload: Payload = {
        aud: claims.audiences.length === 0 ? options.apiAudiences : claims.audiences,
        exp,
        iat: now,
        iss: options.issuer,
        jti: randomUUID(),
        'kubernetes.io': {
          namespace: claims.namespace,
          ...(claims.node === undefined ? {} : { node: claims.node }),
          ...(bound === undefined ? {} : { [bound.kind.toLowerCase()]: { name: bound.name, uid: bound.uid } }),
          serviceaccount: { name: metadata.name ?? '', uid: metadata.uid ?? '' },
        },
        nbf: now,
        sub: `system:serviceaccount:${claims.namespace}:${metadata.name}`,
      };
      return {
        token: sign(payload, signer, signing),
        expirationTimestamp: `${new Date(exp * 1000).toISOString().slice(0, 19)}Z`,
      };
    },
    async authenticate(token, wanted) {
      const payload = payloadOf(token);
      if (payload?.iss === legacyIssuer) {
        return authenticateLegacy(payload, token, options);
      }
      if (payload === undefined || payload.iss !== options.issuer) {
        return undefined;
      }
      const audiences = typeof payload.aud === 'string' ? [payload.aud] : payload.aud;
      const accepted = wanted ?? options.apiAudiences;
      const shared = audiences.filter((one) => accepted.includes(one));
      if (shared.length === 0) {
        return {
          error: `token audiences ${JSON.stringify(audiences)} is invalid for the target audiences ${JSON.stringify(accepted)}`,
        };
      }
      const problem = stale(payload, options.registry, options.now() / 1000);
      return problem === undefined ? { user: userOf(payload), audiences: shared } : { error: problem };
    },
  };
}

/** Such a token is good as long as its Secret holds it and its account lives. */
function authenticateLegacy(
  payload: Payload,
  token: string,
  { registry, apiAudiences }: TokenServiceOptions,
): { user: UserInfo; audiences: readonly string[] } | { error: string } {
  const claim = (name: string): string => {
    const value = (payload as unknown as Record<string, unknown>)[`kubernetes.io/serviceaccount/${name}`];
    return typeof value === 'string' ? value : '';
  };
  const namespace = claim('namespace');
  const serviceaccount = { name: claim('service-account.name'), uid: claim('service-account.uid') };
  const account = registry.get('serviceaccounts', namespace, serviceaccount.name);
  if (account === undefined || account.metadata.uid !== serviceaccount.uid) {
    return { error: `service account ${namespace}/${serviceaccount.name} has been deleted` };
  }
  const data = registry.get('secrets', namespace, claim('secret.name'))?.['data'] as { token?: string } | undefined;
  if (data?.token === undefined || Buffer.from(data.token, 'base64').toString() !== token) {
    return { error: `the secret ${namespace}/${claim('secret.name')} no longer holds this token` };
  }
  return { user: userOf({ ...payload, 'kubernetes.io': { namespace, serviceaccount } }), audiences: apiAudiences };
}

function verify(token: string, keys: readonly VerificationKey[]): Payload | undefined {
  const [header = '', body = '', signature = '', ...rest] = token.split('.');
  if (signature === '' || rest.length > 0) {
    return undefined;
  }
  try {
    const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg?: string; kid?: string };
    const candidates = keys.filter((key) => key.algorithm === alg && (kid === undefined || kid === key.id));
    const good = candidates.some(({ key }) =>
      createVerify('SHA256')
        .update(`${header}.${body}`)
        .verify({ key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')),
    );
    return good ? (JSON.parse(Buffer.from(body, 'base64url').toString()) as Payload) : undefined;
  } catch {
    return undefined;
  }
}

function sign(payload: Payload, key: KeyObject, described: VerificationKey): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg: described.algorithm, kid: described.id })}.${encode(payload)}`;
  const signature = createSign('SHA256').update(text).sign({ key, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

/** Why a well-signed token is no longer good; undefined when it is. */
function stale(payload: Payload, registry: Registry, now: number): string | undefined {
  if (payload.exp <= now) {
    return 'service account token has expired';
  }
  if (payload.nbf !== undefined && payload.nbf > now + 60) {
    return 'service account token is not valid yet';
  }
  const claims = payload['kubernetes.io'];
  if (claims === undefined) {
    return 'service account token has no kubernetes.io claims';
  }
  const { namespace } = claims;
  const account = registry.get('serviceaccounts', namespace, claims.serviceaccount.name);
  if (account === undefined || account.metadata.uid !== claims.serviceaccount.uid) {
    return `service account ${namespace}/${claims.serviceaccount.name} has been deleted`;
  }
  const bound: [kind: string, KubeObject | undefined, ObjectReference | undefined][] = [
    ['pod', claims.pod && registry.get('pods', namespace, claims.pod.name), claims.pod],
    ['secret', claims.secret && registry.get('secrets', namespace, claims.secret.name), claims.secret],
    // A node next to a pod only says where the pod runs.
    [
      'node',
      claims.pod === undefined ? claims.node && registry.get('nodes', undefined, claims.node.name) : undefined,
      claims.pod === undefined ? claims.node : undefined,
    ],
  ];
  for (const [kind, object, reference] of bound) {
    if (reference !== undefined && (object === undefined || object.metadata.uid !== reference.uid)) {
      return `the ${kind} ${reference.name} that the service account token is bound to has been deleted`;
    }
  }
  return undefined;
}

function userOf(payload: Payload): UserInfo {
  const claims = payload['kubernetes.io'];
  const namespace = claims?.namespace ?? '';
  const extra: Record<string, string[]> = {};
  if (payload.jti !== undefined) {
    extra['authentication.kubernetes.io/credential-id'] = [`JTI=${payload.jti}`];
  }
  if (claims?.pod !== undefined) {
    extra['authentication.kubernetes.io/pod-name'] = [claims.pod.name];
    extra['authentication.kubernetes.io/pod-uid'] = [claims.pod.uid ?? ''];
  }
  if (claims?.node !== undefined) {
    extra['authentication.kubernetes.io/node-name'] = [claims.node.name];
    if (claims.node.uid !== undefined) {
      extra['authentication.kubernetes.io/node-uid'] = [claims.node.uid];
    }
  }
  return {
    name: `system:serviceaccount:${namespace}:${claims?.serviceaccount.name ?? ''}`,
    ...(claims?.serviceaccount.uid === undefined ? {} : { uid: claims.serviceaccount.uid }),
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
    extra,
  };
}

function describeKey(key: KeyObject): VerificationKey {
  const id = createHash('sha256')
    .update(key.export({ format: 'der', type: 'spki' }))
    .digest('base64url');
  return { id, key, algorithm: key.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256' };
}

function uniqueKeys(keys: readonly VerificationKey[]): VerificationKey[] {
  return [...new Map(keys.map((key) => [key.id, key])).values()];
}

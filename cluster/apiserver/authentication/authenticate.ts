// SPDX-License-Identifier: Apache-2.0
// Who sends a request: the holder of a client certificate, of a token, or nobody.
import type { PeerCertificate } from 'node:tls';
import type { UserInfo } from '../resources/definition.ts';
import { unauthorized } from '../status.ts';
import type { TokenAuthenticator } from './service-account-tokens.ts';

/** What the connection says of its other end. */
export interface ClientIdentity {
  readonly address: string;
  /** A certificate that the client authority has signed. */
  readonly certificate?: PeerCertificate;
  /** Why a certificate that was shown is no good. */
  readonly certificateError?: string;
}

interface RequestHeaders {
  header(name: string): string | undefined;
}

export interface Authenticator {
  /** Undefined when no credentials were shown. Throws 401 when they are no good. */
  authenticate(request: RequestHeaders, identity: ClientIdentity): Promise<UserInfo | undefined>;
}

export function createAuthenticator(options: {
  readonly tokens: TokenAuthenticator;
  /** Tokens from `--token-auth-file`. */
  readonly staticTokens: ReadonlyMap<string, UserInfo>;
}): Authenticator {
  return {
    async authenticate(request, identity) {
      if (identity.certificate !== undefined) {
        return authenticated(userOfCertificate(identity.certificate));
      }
      const token = bearerToken(request.header('authorization'));
      if (token !== undefined) {
        const known = options.staticTokens.get(token);
        if (known !== undefined) {
          return authenticated(known);
        }
        const result = await options.tokens.authenticate(token, undefined);
        if (result !== undefined && 'user' in result) {
          return authenticated(result.user);
        }
        throw unauthorized();
      }
      if (identity.certificateError !== undefined) {
        throw unauthorized();
      }
      return undefined;
    },
  };
}

/** CN is the name, every O a group. */
function userOfCertificate(certificate: PeerCertificate): UserInfo {
  const { CN, O } = certificate.subject as { CN?: string | string[]; O?: string | string[] };
  const groups = O === undefined ? [] : Array.isArray(O) ? O : [O];
  return { name: (Array.isArray(CN) ? CN[0] : CN) ?? '', groups };
}

function authenticated(user: UserInfo): UserInfo {
  return user.groups.includes('system:authenticated')
    ? user
    : { ...user, groups: [...user.groups, 'system:authenticated'] };
}

/** From `Authorization: Bearer ...`. */
function bearerToken(authorization: string | undefined): string | undefined {
  const match = authorization === undefined ? null : /^Bearer\s+(\S+)\s*$/i.exec(authorization);
  return match?.[1];
}

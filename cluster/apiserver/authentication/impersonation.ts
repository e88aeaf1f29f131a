// SPDX-License-Identifier: Apache-2.0
// `kubectl --as`: a user with the right to impersonate acts as somebody else.
import type { IncomingHttpHeaders } from 'node:http';
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { UserInfo } from '../resources/definition.ts';
import { badRequest, forbidden } from '../status.ts';

type Authorize = (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;

const extraPrefix = 'impersonate-extra-';
const serviceAccountPrefix = 'system:serviceaccount:';

/** The user to act as; the real one when nobody is impersonated. Throws 400 and 403. */
export async function impersonate(
  headers: IncomingHttpHeaders,
  real: UserInfo,
  authorize: Authorize,
): Promise<UserInfo> {
  const name = one(headers['impersonate-user']);
  const groups = many(headers['impersonate-group']);
  const uid = one(headers['impersonate-uid']);
  const extra: Record<string, string[]> = {};
  for (const header of Object.keys(headers)) {
    if (header.startsWith(extraPrefix)) {
      extra[decodeURIComponent(header.slice(extraPrefix.length))] = many(headers[header]);
    }
  }
  if (name === undefined) {
    if (groups.length > 0 || uid !== undefined || Object.keys(extra).length > 0) {
      throw badRequest('requested impersonation of groups, uid or extra without impersonating a user');
    }
    return real;
  }
  const check = (what: Omit<AccessAttributes, 'user' | 'verb'>) => allow(authorize, real, what);
  const account = serviceAccount(name);
  if (account === undefined) {
    await check({ group: '', resource: 'users', name });
  } else {
    await check({ group: '', resource: 'serviceaccounts', ...account });
  }
  for (const group of groups) {
    await check({ group: '', resource: 'groups', name: group });
  }
  if (uid !== undefined) {
    await check({ group: 'authentication.k8s.io', resource: 'uids', name: uid });
  }
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) {
      await check({ group: 'authentication.k8s.io', resource: 'userextras', subresource: key, name: value });
    }
  }
  return {
    name,
    groups: impersonatedGroups(name, groups, account?.namespace),
    ...(uid === undefined ? {} : { uid }),
    ...(Object.keys(extra).length === 0 ? {} : { extra }),
  };
}

function impersonatedGroups(name: string, groups: string[], namespace: string | undefined): string[] {
  const all = [...groups];
  if (namespace !== undefined && groups.length === 0) {
    all.push('system:serviceaccounts', `system:serviceaccounts:${namespace}`);
  }
  const marker = name === 'system:anonymous' ? 'system:unauthenticated' : 'system:authenticated';
  return all.includes(marker) ? all : [...all, marker];
}

async function allow(
  authorize: Authorize,
  user: UserInfo,
  what: Omit<AccessAttributes, 'user' | 'verb'>,
): Promise<void> {
  const decision = await authorize({ ...what, user, verb: 'impersonate' });
  if (!decision.allowed) {
    const { group = '', resource = '', name = '', namespace } = what;
    const where = namespace === undefined ? 'at the cluster scope' : `in the namespace ${JSON.stringify(namespace)}`;
    const why = `User ${JSON.stringify(user.name)} cannot impersonate resource ${JSON.stringify(resource)} in API group ${JSON.stringify(group)} ${where}`;
    throw forbidden({ group, plural: resource }, name, why);
  }
}

function serviceAccount(name: string): { namespace: string; name: string } | undefined {
  const parts = name.startsWith(serviceAccountPrefix) ? name.slice(serviceAccountPrefix.length).split(':') : [];
  const [namespace, account] = parts;
  return parts.length === 2 && namespace !== undefined && account !== undefined
    ? { namespace, name: account }
    : undefined;
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** Node joins repeated headers with a comma. */
function many(value: string | string[] | undefined): string[] {
  if (value === undefined) {
    return [];
  }
  return (Array.isArray(value) ? value : value.split(',')).map((part) => part.trim()).filter((part) => part !== '');
}

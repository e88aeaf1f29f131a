// SPDX-License-Identifier: Apache-2.0
// The user of a request as the authentication API spells it.
import type { UserInfo as ApiUserInfo } from '../../../machinery/api-types.ts';
import type { UserInfo } from '../definition.ts';

export function apiUser(user: UserInfo): ApiUserInfo {
  return {
    username: user.name,
    ...(user.uid !== undefined && { uid: user.uid }),
    ...(user.groups.length > 0 && { groups: [...user.groups] }),
    ...(user.extra !== undefined && {
      extra: Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]])),
    }),
  };
}

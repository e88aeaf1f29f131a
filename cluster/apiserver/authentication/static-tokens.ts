// SPDX-License-Identifier: Apache-2.0
// Tokens from `--token-auth-file`: lines of `token,user,uid[,"group1,group2"]`. Pure.
import type { UserInfo } from '../resources/definition.ts';

/** Lines without token and user are ignored, as upstream does. */
export function readStaticTokens(text: string): Map<string, UserInfo> {
  const tokens = new Map<string, UserInfo>();
  for (const line of text.split('\n')) {
    const [token = '', name = '', uid = '', groups = ''] = columns(line.trim());
    if (token !== '' && name !== '') {
      tokens.set(token, {
        name,
        ...(uid === '' ? {} : { uid }),
        groups: groups
          .split(',')
          .map((group) => group.trim())
          .filter((group) => group !== ''),
      });
    }
  }
  return tokens;
}

function columns(line: string): string[] {
  return [...line.matchAll(/(?:"([^"]*)"|([^,]*))(?:,|$)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

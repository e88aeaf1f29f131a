// SPDX-License-Identifier: Apache-2.0
// Removes what a proxy of the other mode left in the kernel, ours or upstream's: rules of both would translate every
// packet twice. To be called once the rules of the new mode are in force, so that Services work all the time.

import { runNft } from '../network/nft/live-table.ts';
import { runIptables } from './iptables/iptables-command.ts';
import { words } from './iptables/iptables-rules.ts';
import { tableName } from './nftables/rule-store.ts';
import type { IptablesVariant } from './iptables/iptables-command.ts';

/** `mode` is what writes rules now, by variant where it is iptables. */
export async function removeLeftovers(mode: 'nftables' | IptablesVariant): Promise<void> {
  for (const family of ['ip', 'ip6'] as const) {
    if (mode !== 'nftables') {
      // To add what is there changes nothing; so the deletion always finds a table.
      await runNft(`add table ${family} ${tableName}\ndelete table ${family} ${tableName}\n`);
    }
    for (const variant of ['nft', 'legacy'] as const) {
      if (variant !== mode) await removeChains(family, variant);
    }
  }
}

async function removeChains(family: 'ip' | 'ip6', variant: IptablesVariant): Promise<void> {
  const program = { variant, family } as const;
  let saved: string;
  try {
    saved = await runIptables({ ...program, tool: 'save' }, []);
  } catch {
    // A variant that is not installed, or not for this family, left nothing.
    return;
  }
  const text = removalText(saved);
  if (text !== '') await runIptables({ ...program, tool: 'restore' }, ['-w', '5', '--noflush'], text);
}

const ours =
  /^KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|FORWARD|PROXY-FIREWALL|PROXY-CANARY|(?:SVC|SVL|SEP|FW|EXT|XLB)-\S+)$/;

/** Input for `iptables-restore --noflush` that takes a proxy's chains, and jumps to them, out of what was saved. Pure. */
export function removalText(saved: string): string {
  let result = '';
  for (const section of saved.split(/^(?=\*)/m)) {
    const table = /^\*(\S+)/.exec(section)?.[1];
    if (table === undefined) continue;
    const chains = [...section.matchAll(/^:(\S+) /gm)].flatMap(([, name = '']) => (ours.test(name) ? [name] : []));
    if (chains.length === 0) continue;
    const jumps = section.split('\n').filter((line) => {
      const [verb, chain = ''] = words(line);
      const target = words(line).at(-1) ?? '';
      return verb === '-A' && !ours.test(chain) && ours.test(target);
    });
    result += [
      `*${table}`,
      ...chains.map((chain) => `:${chain} - [0:0]`),
      ...jumps.map((line) => line.replace('-A', '-D')),
      ...chains.map((chain) => `-X ${chain}`),
      'COMMIT\n',
    ].join('\n');
  }
  return result;
}

// SPDX-License-Identifier: Apache-2.0
// The configuration of BIRD 2 for `--network bgp`: every node announces its blocks to every other node (a full mesh inside
// one private AS), one session per address family. The node's own block is a blackhole, behind which its pods' routes
// of one address each, made by CNI, are found; packets to addresses that no pod has end there.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

import { familyOf, parsePrefix } from './addresses.ts';
import { internalAddresses, podCIDRsOf } from './node-addresses.ts';
import type { Node } from '../machinery/api-types.ts';

export const birdFiles = { configuration: '/etc/bird/bird.conf', socket: '/run/bird/bird.ctl' } as const;

/** Private use, and the one that Calico has by default. */
const autonomousSystem = 64512;

/** The whole file. Nodes are in the order of their names, so that the same cluster gives the same text. */
export function birdConfiguration(nodes: readonly Node[], self: Node): string {
  const addresses = internalAddresses(self);
  const blocks = podCIDRsOf(self);
  const sections = [
    `# Written by the network agent of ${self.metadata.name ?? ''}.
log stderr all;
router id ${routerId(addresses)};
# Peers keep the routes of a BIRD that is being restarted, and it keeps theirs.
graceful restart wait 30;

protocol device {
  scan time 5;
}`,
  ];
  for (const family of [4, 6] as const) {
    const own = addresses.find((address) => familyOf(address) === family);
    const mine = blocks.filter((block) => parsePrefix(block).family === family);
    if (own === undefined || mine.length === 0) continue;
    sections.push(familySections(family, mine));
    const others = nodes
      .filter(({ metadata }) => metadata.name !== self.metadata.name)
      .toSorted((a, b) => ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1));
    for (const node of others) {
      const peer = internalAddresses(node).find((address) => familyOf(address) === family);
      if (peer !== undefined) sections.push(session(family, own, { name: node.metadata.name ?? '', address: peer }));
    }
  }
  return `${sections.join('\n\n')}\n`;
}

function familySections(family: 4 | 6, blocks: readonly string[]): string {
  return `protocol kernel kernel${family} {
  # Routes stay when BIRD ends.
  persist;
  scan time 10;
  ipv${family} {
    import none;
    export where source ~ [ RTS_STATIC, RTS_BGP ];
  };
}

protocol static blocks${family} {
  ipv${family};
${blocks.map((block) => `  route ${block} blackhole;`).join('\n')}
}`;
}

function session(family: 4 | 6, own: string, peer: { readonly name: string; readonly address: string }): string {
  return `# ${peer.name}
protocol bgp mesh_${peer.address.replaceAll(/[.:]/g, '_')} {
  local ${own} as ${autonomousSystem};
  neighbor ${peer.address} as ${autonomousSystem};
  direct;
  connect delay time 1;
  connect retry time 5;
  error wait time 1, 10;
  graceful restart on;
  ipv${family} {
    gateway direct;
    next hop self;
    import all;
    export where source = RTS_STATIC;
  };
}`;
}

/** 32 bits in dotted form: the IPv4 address, or, where there is none, numbers told from the IPv6 address. */
function routerId(addresses: readonly string[]): string {
  const given = addresses.find((address) => familyOf(address) === 4);
  if (given !== undefined) return given;
  const [a = 0, b = 0, c = 0] = createHash('sha256').update(addresses.join()).digest();
  return `10.${a}.${b}.${c}`;
}

/** Writes the file if its content differs, and has a running BIRD read it; one that does not run will. */
export async function reconcileBird(nodes: readonly Node[], self: Node): Promise<'written' | 'unchanged'> {
  const { configuration, socket } = birdFiles;
  const text = birdConfiguration(nodes, self);
  if ((await readFile(configuration, 'utf8').catch(() => undefined)) === text) return 'unchanged';
  await mkdir(dirname(configuration), { recursive: true });
  await writeFile(`${configuration}.new`, text, { mode: 0o644 });
  await rename(`${configuration}.new`, configuration);
  await promisify(execFile)('birdc', ['-s', socket, 'configure']).catch(() => undefined);
  return 'written';
}

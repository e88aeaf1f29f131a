// SPDX-License-Identifier: Apache-2.0
// The CNI network list by which the container runtime wires pods: `ptp` gives each pod a routed veth (so that every
// packet of a pod passes the node's forward hook, also to a neighbour on the same node), `host-local` takes addresses
// from the node's podCIDRs, `portmap` serves hostPort, `bandwidth` the annotations that limit a pod's traffic.

import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface CniOptions {
  readonly podCIDRs: readonly string[];
  readonly mtu: number;
}

export const networkName = 'plumb';
/** Where `host-local` keeps a file per address that it has handed out. */
export const leasesDirectory = `/var/lib/cni/networks/${networkName}`;
const fileName = '10-plumb.conflist';

/**
 * `ptp` waits until the kernel has made sure that nobody else on the link has the pod's IPv6 address, 1 to 2 s for each pod.
 * There is nobody else on the link. The setting must be there before the link is; `tuning` makes it in any pod's
 * namespace, but only behind another plugin, and `loopback` is the one that does no harm.
 */
const withoutAddressDetection: readonly object[] = [
  { type: 'loopback' },
  { type: 'tuning', sysctl: { 'net.ipv6.conf.default.accept_dad': '0' } },
];

/** The network list as a value. */
export function cniConfig({ podCIDRs, mtu }: CniOptions): object {
  const isIPv6 = (cidr: string): boolean => cidr.includes(':');
  const families = [podCIDRs.filter((cidr) => !isIPv6(cidr)), podCIDRs.filter(isIPv6)]
    .filter((cidrs) => cidrs.length > 0)
    .toSorted(([a = ''], [b = '']) => podCIDRs.indexOf(a) - podCIDRs.indexOf(b));
  return {
    cniVersion: '1.0.0',
    name: networkName,
    plugins: [
      ...(podCIDRs.some(isIPv6) ? withoutAddressDetection : []),
      {
        type: 'ptp',
        mtu,
        ipMasq: false,
        ipam: {
          type: 'host-local',
          // One set per family, from which a pod gets one address.
          ranges: families.map((cidrs) => cidrs.map((subnet) => ({ subnet }))),
          routes: families.map(([cidr]) => ({ dst: cidr?.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ],
  };
}

/** Writes the file if its content differs, in one step, since the runtime may read it at any moment. */
export async function writeCniConfig(directory: string, options: CniOptions): Promise<'written' | 'unchanged'> {
  const path = join(directory, fileName);
  const text = `${JSON.stringify(cniConfig(options), undefined, 2)}\n`;
  const before = await readFile(path, 'utf8').catch(() => undefined);
  if (before === text) return 'unchanged';
  await mkdir(directory, { recursive: true });
  // The runtime looks at *.conf, *.conflist and *.json only, so the unfinished file is invisible to it.
  const unfinished = join(directory, `.${fileName}.new`);
  await writeFile(unfinished, text, { mode: 0o644 });
  await rename(unfinished, path);
  return 'written';
}

// SPDX-License-Identifier: Apache-2.0
// Removal of UDP flows that the connection tracker would keep sending to an endpoint that is gone, or into the void
// from the time before a Service had endpoints. TCP needs none of this: its peers notice by themselves.

import { spawn } from 'node:child_process';

import type { Backend, ServicePort } from './service-model.ts';

/** Where a UDP Service port is reached and which backends it may translate to. */
export interface UdpState {
  readonly port: ServicePort;
  readonly backends: ReadonlySet<string>;
}

/** Argument lists for `conntrack`, one deletion each. Pure. */
export function staleFlows(before: UdpState | undefined, after: UdpState | undefined): string[][] {
  const port = (after ?? before)?.port;
  if (port?.protocol !== 'udp') return [];
  const deletions: string[][] = [];
  const gone = [...(before?.backends ?? [])].filter((address) => after?.backends.has(address) !== true);
  const appeared = (before?.backends.size ?? 0) === 0 && (after?.backends.size ?? 0) > 0;
  const family = port.clusterIP.includes(':') ? 'ipv6' : 'ipv4';
  const base = ['-D', '-f', family, '-p', 'udp'];
  for (const address of [port.clusterIP, ...port.externalIPs, ...port.loadBalancerIPs]) {
    const original = [...base, '--orig-dst', address, '--orig-port-dst', String(port.port)];
    for (const backend of gone) deletions.push([...original, '--reply-src', backend]);
    if (appeared) deletions.push(original);
  }
  if (port.nodePort !== undefined) {
    const original = [...base, '--orig-port-dst', String(port.nodePort)];
    for (const backend of gone) deletions.push([...original, '--reply-src', backend]);
    if (appeared) deletions.push(original);
  }
  return deletions;
}

export function udpState(port: ServicePort, backends: readonly Backend[]): UdpState | undefined {
  if (port.protocol !== 'udp') return undefined;
  const usable = backends.filter((backend) => backend.ready || (backend.serving && backend.terminating));
  return { port, backends: new Set(usable.map((backend) => backend.address)) };
}

/** With more deletions than this, all translated UDP flows go in one; those still wanted are translated anew. */
const mostSingle = 50;

/** Runs the deletions one after another. Finding nothing to delete is success. */
export async function deleteFlows(deletions: readonly string[][], onError: (error: Error) => void): Promise<void> {
  const families = new Set(deletions.map((args) => args[2] ?? 'ipv4'));
  const chosen =
    deletions.length > mostSingle
      ? [...families].map((family) => ['-D', '-f', family, '-p', 'udp', '--dst-nat'])
      : deletions;
  for (const args of chosen) {
    await new Promise<void>((resolve) => {
      const child = spawn('conntrack', args, { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
      child.on('error', (error) => {
        onError(new Error(`conntrack cannot be started: ${error.message}; install the conntrack package`));
        resolve();
      });
      child.on('close', (code) => {
        if (code !== 0 && !said.includes('0 flow entries')) onError(new Error(`conntrack ${args.join(' ')}: ${said}`));
        resolve();
      });
    });
  }
}

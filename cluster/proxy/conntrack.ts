// SPDX-License-Identifier: Apache-2.0
// Removal of UDP flows that the connection tracker would keep sending to an endpoint that is gone, or into the void
// from the time before a Service had endpoints. TCP needs none of this: its peers notice by themselves.
//
// The tracker's own table is what is compared with, so flows that went stale while no proxy ran are found as well.

import { spawn } from 'node:child_process';

import type { Backend, ServicePort } from './service-model.ts';

/** Where a UDP Service port is reached and which backends it may translate to. */
export interface UdpState {
  readonly port: ServicePort;
  /** Addresses with ports: a Service may go to another port of the same pods. */
  readonly backends: ReadonlySet<string>;
}

export interface Flow {
  /** Where the client sent to. */
  readonly address: string;
  readonly port: number;
  /** Who answers: the endpoint that the flow was translated to. */
  readonly repliesFrom: string;
  readonly repliesFromPort: number;
}

export function udpState(port: ServicePort, backends: readonly Backend[]): UdpState | undefined {
  if (port.protocol !== 'udp') return undefined;
  const usable = backends.filter((backend) => backend.ready || backend.serving);
  return { port, backends: new Set(usable.map(({ address, port: target }) => `${address} ${target}`)) };
}

/** Whether going from one state to the other can make a flow stale. */
export function mayLeaveFlows(before: UdpState | undefined, after: UdpState | undefined): boolean {
  if (before === undefined) return after !== undefined;
  if (after === undefined) return true;
  if (before.backends.size === 0) return after.backends.size > 0;
  if ([...before.backends].some((backend) => !after.backends.has(backend))) return true;
  const now = new Set(frontends(after));
  return frontends(before).some((frontend) => !now.has(frontend));
}

/** Flows to `states` that none of their backends answers. `gone` are addresses that were left behind. Pure. */
export function staleFlows(flows: readonly Flow[], changes: UdpChanges, ownAddresses: ReadonlySet<string>): Flow[] {
  const allowed = new Map<string, ReadonlySet<string>>();
  for (const state of changes.before) for (const frontend of frontends(state)) allowed.set(frontend, new Set());
  for (const state of changes.after) for (const frontend of frontends(state)) allowed.set(frontend, state.backends);
  const stale = new Map<string, Flow>();
  for (const flow of flows) {
    const backends =
      allowed.get(`${flow.address} ${flow.port}`) ??
      (ownAddresses.has(flow.address) ? allowed.get(`node ${flow.port}`) : undefined);
    const backend = `${flow.repliesFrom} ${flow.repliesFromPort}`;
    if (backends === undefined || backends.has(backend)) continue;
    stale.set(`${flow.address} ${flow.port} ${backend}`, flow);
  }
  return [...stale.values()];
}

/** UDP Service ports that changed, as they were and as they are. */
export interface UdpChanges {
  readonly before: readonly UdpState[];
  readonly after: readonly UdpState[];
}

function frontends({ port }: UdpState): string[] {
  const addresses = [port.clusterIP, ...port.externalIPs, ...port.loadBalancerIPs];
  const found = addresses.map((address) => `${address} ${port.port}`);
  if (port.nodePort !== undefined) found.push(`node ${port.nodePort}`);
  return found;
}

/** The UDP flows in what `conntrack -L` printed. Lines that are none are passed over. */
export function parseFlows(text: string): Flow[] {
  const flows: Flow[] = [];
  const tuple = String.raw`src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`;
  const pattern = new RegExp(`^udp .*?${tuple}.*? ${tuple}`);
  for (const line of text.split('\n')) {
    const found = pattern.exec(line);
    const [address, port, repliesFrom, repliesFromPort] = [found?.[2], found?.[4], found?.[5], found?.[7]];
    if (address === undefined || repliesFrom === undefined) continue;
    flows.push({ address, port: Number(port), repliesFrom, repliesFromPort: Number(repliesFromPort) });
  }
  return flows;
}

export async function listFlows(family: 'ip' | 'ip6'): Promise<Flow[]> {
  return parseFlows(await run('conntrack', ['-L', '-f', familyName(family), '-p', 'udp'], ''));
}

/** All in one run of the tool. Flows that ended by themselves are no error. */
export async function deleteFlows(flows: readonly Flow[], family: 'ip' | 'ip6'): Promise<void> {
  if (flows.length === 0) return;
  const lines = flows.map(
    ({ address, port, repliesFrom, repliesFromPort }) =>
      `-D -f ${familyName(family)} -p udp --orig-dst ${address} --orig-port-dst ${port} ` +
      `--reply-src ${repliesFrom} --reply-port-src ${repliesFromPort}\n`,
  );
  // The tool opens /dev/stdin anew, which works with a pipe but not with the socket that Node gives to a child.
  await run('sh', ['-c', 'cat | conntrack -R -'], lines.join(''));
}

function familyName(family: 'ip' | 'ip6'): string {
  return family === 'ip' ? 'ipv4' : 'ipv6';
}

function run(program: string, args: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.on('error', (error) => {
      reject(new Error(`conntrack cannot be started: ${error.message}; install the conntrack package`));
    });
    child.on('close', (code) => {
      if (code === 0 || said.includes('0 flow entries')) resolve(output);
      else reject(new Error(`conntrack ${args.join(' ')}: ${said.trim()}`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

// SPDX-License-Identifier: Apache-2.0
/** A flow as one line for people: who with whom, how much, how far away, and what went wrong. */
import type { Flow, FlowSide } from './flows.ts';

export function describeFlow(flow: Flow): string {
  const { client, server } = flow;
  const parts = [
    `${flow.protocol} ${client.address}.${client.port} > ${server.address}.${server.port}`,
    `${client.packets}/${server.packets} packets`,
    `${client.octets}/${server.octets} octets`,
    `${(flow.lastSeconds - flow.firstSeconds).toFixed(3)} s`,
  ];
  if (flow.serverRttSeconds !== undefined) parts.push(`rtt ${milliseconds(flow.serverRttSeconds)} to the server`);
  if (flow.clientRttSeconds !== undefined) parts.push(`${milliseconds(flow.clientRttSeconds)} to the client`);
  if (server.packets === 0 && flow.protocol === 'tcp') parts.push('no answer');
  const both = (name: string, pick: (side: FlowSide) => number): void => {
    const sum = pick(client) + pick(server);
    if (sum > 0) parts.push(`${name} ${pick(client)}/${pick(server)}`);
  };
  both('retransmitted', (side) => side.retransmissions);
  both('out of order', (side) => side.outOfOrder);
  both('resets', (side) => side.resets);
  both('zero windows', (side) => side.zeroWindows);
  both('over MSS', (side) => side.overMss);
  return parts.join(', ');
}

function milliseconds(seconds: number): string {
  return `${(seconds * 1000).toFixed(3)} ms`;
}

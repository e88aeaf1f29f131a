// SPDX-License-Identifier: Apache-2.0
/**
 * A DNS server on a node, between its pods and the cluster's: takes questions on UDP and TCP port 10053 and changes the answers. `wrong`
 * spoils every kind of record and the letter case of the question; `remembers` repeats the first answer to a question for ever, denials too. Names of the namespace `default` are left
 * as they are, so that a run gets going. Arguments: the address of the real server, and the manner.
 */
import { createSocket } from 'node:dgram';
import { decode, encode, type Answer, type DecodedPacket } from 'dns-packet';

const [real = '', manner = 'wrong'] = process.argv.slice(2);
const remembered = new Map<string, DecodedPacket>();

function spoil(packet: DecodedPacket): DecodedPacket {
  const [question] = packet.questions ?? [];
  const { name = '', type = 'A' } = question ?? {};
  if (manner === 'wrong' && name !== name.toLowerCase()) {
    return { ...packet, questions: [{ type: 'A', ...question, name: name.toLowerCase() }] };
  }
  if (name.includes('.default.svc.') || name.startsWith('nobody-answers')) return packet;
  if (manner === 'remembers') {
    const key = `${type} ${name}`;
    const known = remembered.get(key);
    if (known === undefined) remembered.set(key, packet);
    return known === undefined ? packet : { ...known, id: packet.id ?? 0 };
  }
  const answers = (packet.answers ?? []).map((answer): Answer => {
    if (answer.type === 'A') return { ...answer, data: '192.0.2.1' };
    if (answer.type === 'PTR' || answer.type === 'CNAME') return { ...answer, data: 'wrong.example' };
    if (answer.type === 'SRV') return { ...answer, data: { ...answer.data, port: 1, target: 'wrong.example' } };
    if (answer.type === 'AAAA') return { ...answer, data: '2001:db8::1' };
    if (answer.type === 'TXT') return { ...answer, data: 'none' };
    return answer;
  });
  // Nothing where something else exists becomes "no such name", and that comes without its SOA.
  const flags = answers.length === 0 ? ((packet.flags ?? 0) & ~0xf) | 3 : (packet.flags ?? 0);
  return { ...packet, flags, answers, authorities: [] };
}

const server = createSocket('udp4');
server.on('message', (message, from) => {
  const upstream = createSocket('udp4');
  upstream.on('error', () => upstream.close());
  const timer = setTimeout(() => upstream.close(), 3_000);
  upstream.on('message', (reply) => {
    clearTimeout(timer);
    upstream.close();
    const packet = spoil(decode(reply));
    server.send(encode({ ...packet, id: message.readUInt16BE(0) }), from.port, from.address);
  });
  upstream.send(message, 53, real);
});
server.bind(10_053);

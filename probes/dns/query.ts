// SPDX-License-Identifier: Apache-2.0
/** Single DNS questions over UDP or TCP, asked exactly as given: no search list, no retries, no cache. */
import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { connect, isIP } from 'node:net';
import dnsPacket from 'dns-packet';
import type { DnsQuestion, DnsRecord, DnsResult } from '../agent/protocol.ts';

const dnsPort = 53;

/** Never rejects: what went wrong is in the result. */
export async function askDns(question: DnsQuestion): Promise<DnsResult> {
  const began = performance.now();
  const finish = (result: Omit<DnsResult, 'latencyMs'>): DnsResult => ({
    ...result,
    latencyMs: Math.round((performance.now() - began) * 100) / 100,
  });
  try {
    const server = question.server ?? (await firstNameserver());
    const id = Math.floor(Math.random() * 0x10000);
    const query = encode(question, id);
    const exchange = question.transport === 'tcp' ? overTcp : overUdp;
    return finish(decode(await exchange(query, server, question.timeoutMs), id));
  } catch (error) {
    return finish(failure(error));
  }
}

class Silence extends Error {}

async function firstNameserver(): Promise<string> {
  const text = await readFile('/etc/resolv.conf', 'utf8');
  const address = /^nameserver\s+(\S+)/m.exec(text)?.[1];
  if (address === undefined) throw new Error('/etc/resolv.conf names no nameserver');
  return address;
}

function encode(question: DnsQuestion, id: number): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: question.type, name: question.name.replace(/\.$/, '') }],
    ...(question.udpPayloadSize === undefined
      ? {}
      : {
          additionals: [
            {
              type: 'OPT' as const,
              name: '.' as const,
              udpPayloadSize: question.udpPayloadSize,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ],
        }),
  });
}

function overUdp(query: Buffer, server: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
    const timer = setTimeout(() => socket.emit('error', new Silence()), timeoutMs);
    const end = (): void => {
      clearTimeout(timer);
      socket.close();
    };
    socket.once('error', (error) => {
      end();
      reject(error);
    });
    socket.once('message', (message) => {
      end();
      resolve(message);
    });
    socket.connect(dnsPort, server, () => socket.send(query));
  });
}

function overTcp(query: Buffer, server: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server, port: dnsPort });
    const timer = setTimeout(() => socket.destroy(new Silence()), timeoutMs);
    let received = Buffer.alloc(0);
    socket.on('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      clearTimeout(timer);
      socket.destroy();
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)));
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.on('end', () => {
      clearTimeout(timer);
      reject(new SyntaxError(`the server closed after ${received.length} bytes`));
    });
  });
}

function decode(message: Buffer, id: number): Omit<DnsResult, 'latencyMs'> {
  let packet: ReturnType<typeof dnsPacket.decode>;
  try {
    packet = dnsPacket.decode(message);
  } catch (error) {
    throw new SyntaxError('the answer is not a DNS message', { cause: error });
  }
  if (packet.id !== id || packet.type !== 'response') throw new SyntaxError('the answer is to another question');
  const flags = packet.flags ?? 0;
  return {
    outcome: 'answered',
    rcode: (packet as { rcode?: string }).rcode ?? 'NOERROR',
    authoritative: (flags & dnsPacket.AUTHORITATIVE_ANSWER) !== 0,
    truncated: (flags & dnsPacket.TRUNCATED_RESPONSE) !== 0,
    question: packet.questions?.[0]?.name ?? '',
    answers: (packet.answers ?? []).map(plain),
    authorities: (packet.authorities ?? []).map(plain),
    additionals: (packet.additionals ?? []).filter((record) => record.type !== 'OPT').map(plain),
  };
}

function plain(record: dnsPacket.Answer): DnsRecord {
  const { name, type } = record;
  const ttl = 'ttl' in record ? (record.ttl ?? 0) : 0;
  return { name, type, ttl, data: 'data' in record ? dataText(record.data) : '' };
}

function dataText(data: unknown): string {
  if (typeof data === 'string') return data;
  if (Buffer.isBuffer(data)) return data.toString();
  if (Array.isArray(data)) return data.map(dataText).join(' ');
  if (typeof data === 'object' && data !== null) {
    const fields = data as Record<string, unknown>;
    if ('target' in fields) return `${fields['priority']} ${fields['weight']} ${fields['port']} ${fields['target']}`;
    if ('mname' in fields) return `${fields['mname']} ${fields['rname']} ${fields['serial']} ${fields['minimum']}`;
  }
  return JSON.stringify(data);
}

function failure(error: unknown): Omit<DnsResult, 'latencyMs'> {
  if (error instanceof Silence) return { outcome: 'dropped', error: 'no answer' };
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof SyntaxError) return { outcome: 'malformed', error: message };
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ECONNREFUSED' || code === 'EHOSTUNREACH' || code === 'ECONNRESET') {
    return { outcome: 'refused', error: message };
  }
  return { outcome: 'prober-broken', error: message };
}

// SPDX-License-Identifier: Apache-2.0
// For tests: a cluster made of objects, the real server in front of it on loopback, and questions to it through another
// implementation of the wire format.

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Socket } from 'node:dgram';

import dnsPacket from 'dns-packet';
import type { DecodedPacket } from 'dns-packet';

import { watchCluster } from './cluster-state.ts';
import { parseCorefile } from './corefile.ts';
import { DnsServer } from './dns-server.ts';
import type { EndpointSlice, Namespace, Pod, Service } from '../machinery/api-types.ts';
import type { Client, ListOptions } from '../machinery/client.ts';
import type { Resource } from '../machinery/resources.ts';
import type { DnsServerOptions } from './dns-server.ts';

export interface ClusterObjects {
  readonly namespaces?: readonly string[];
  readonly services?: readonly Service[];
  readonly slices?: readonly EndpointSlice[];
  readonly pods?: readonly Pod[];
}

type Stored = Service | EndpointSlice | Namespace | Pod;
type WatchEvent = { type: string; object: unknown };

/** Answers list and watch as the API server does, from memory. */
export class MemoryCluster {
  readonly #objects = new Map<string, Stored[]>();
  readonly #watches = new Map<string, (event: WatchEvent) => void>();
  #version = 1;

  constructor(objects: ClusterObjects) {
    const { namespaces = ['default', 'kube-system'], services = [], slices = [], pods = [] } = objects;
    this.#objects.set(
      'namespaces',
      namespaces.map((name): Namespace => ({ metadata: { name } })),
    );
    this.#objects.set('services', [...services]);
    this.#objects.set('endpointslices', [...slices]);
    this.#objects.set('pods', [...pods]);
  }

  get client(): Pick<Client, 'list' | 'watch'> {
    const list = (resource: Resource): Promise<unknown> =>
      Promise.resolve({ items: this.#objects.get(resource.plural) ?? [], metadata: { resourceVersion: '1' } });
    const watch = (
      resource: Resource,
      _options: ListOptions,
      onEvent: (event: WatchEvent) => void,
      signal: AbortSignal,
    ): Promise<void> => {
      this.#watches.set(resource.plural, onEvent);
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    };
    return { list, watch } as unknown as Pick<Client, 'list' | 'watch'>;
  }

  change(plural: 'services' | 'endpointslices' | 'pods', type: 'ADDED' | 'MODIFIED' | 'DELETED', object: Stored): void {
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#watches.get(plural)?.({ type, object: { ...object, metadata } });
  }
}

export interface RunningDns {
  readonly port: number;
  readonly server: DnsServer;
  readonly cluster: MemoryCluster;
  readonly logged: string[];
  readonly loops: string[];
  use(corefile: string): Promise<void>;
  close(): void;
}

/** Server blocks without a port listen on a free one. */
export async function startDns(
  corefile: string,
  options: {
    readonly objects?: ClusterObjects;
    readonly hostSearch?: readonly string[];
    readonly synced?: boolean;
  } = {},
): Promise<RunningDns> {
  const cluster = new MemoryCluster(options.objects ?? {});
  const stop = new AbortController();
  const state = watchCluster(cluster.client, () => undefined);
  const logged: string[] = [];
  const loops: string[] = [];
  const log: DnsServerOptions['log'] = {
    info: (line) => void logged.push(line),
    warn: (line) => void logged.push(line),
    error: (message, error, fields) => void logged.push(`${message}: ${String(error)} ${JSON.stringify(fields)}`),
  };
  const hostSearch = options.hostSearch ?? [];
  const server = new DnsServer({ state, log, hostSearch, onLoop: (message) => void loops.push(message) });
  const use = async (text: string): Promise<void> => {
    const configs = parseCorefile(text, { file: 'Corefile', environment: {}, read: () => [], defaultPort: 0 });
    const pods = configs.some(({ kubernetes }) => kubernetes?.pods === 'verified');
    if (options.synced !== false) await state.start(stop.signal, { pods });
    await server.use(configs, text);
  };
  await use(corefile);
  return {
    get port() {
      return server.ports[0] ?? 0;
    },
    server,
    cluster,
    logged,
    loops,
    use,
    close: () => {
      stop.abort();
      server.close();
    },
  };
}

export interface Asking {
  readonly udpSize?: number;
  readonly transport?: 'udp' | 'tcp';
  readonly from?: string;
}

export async function ask(port: number, name: string, type = 'A', how: Asking = {}): Promise<DecodedPacket> {
  const packet = encodeQuestion(name, type, how.udpSize);
  return dnsPacket.decode(
    how.transport === 'tcp' ? ((await overTcp(port, [packet]))[0] ?? packet) : await overUdp(port, packet, how.from),
  );
}

/** `name type data` of each answer, and the response code where it is not NOERROR. */
export async function short(port: number, name: string, type = 'A', how: Asking = {}): Promise<string> {
  const { rcode, answers } = (await ask(port, name, type, how)) as DecodedPacket & { rcode: string };
  const found = (answers ?? []).map((one) => ('data' in one ? dataText(one.data) : ''));
  return [...(rcode === 'NOERROR' ? [] : [rcode]), ...found].join(' ');
}

export function dataText(data: unknown): string {
  if (typeof data === 'string') return data;
  if (Buffer.isBuffer(data)) return data.toString();
  if (Array.isArray(data)) return data.map(dataText).join(' ');
  const fields = data as Record<string, unknown>;
  if ('target' in fields) return `${fields['priority']} ${fields['weight']} ${fields['port']} ${fields['target']}`;
  return `${fields['mname']} ${fields['rname']} ${fields['minimum']}`;
}

export function encodeQuestion(name: string, type: string, udpSize?: number): Buffer {
  const opt = {
    type: 'OPT' as const,
    name: '.' as const,
    udpPayloadSize: udpSize ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return dnsPacket.encode({
    type: 'query',
    id: Math.floor(Math.random() * 0x10000),
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name }],
    ...(udpSize !== undefined && { additionals: [opt] }),
  });
}

export function overUdp(port: number, packet: Buffer, from = '127.0.0.1'): Promise<Buffer> {
  const socket = createSocket('udp4');
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error('no answer within 6 s'));
    }, 6000);
    socket.on('message', (message) => {
      if (message.readUInt16BE(0) !== packet.readUInt16BE(0)) return;
      clearTimeout(timer);
      socket.close();
      resolve(message);
    });
    socket.bind(0, from, () => socket.send(packet, port, '127.0.0.1'));
  });
}

/** All queries at once on one connection; the replies as they come. */
export function overTcp(port: number, packets: readonly Buffer[]): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const replies: Buffer[] = [];
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${replies.length} replies`)));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        replies.push(Buffer.from(received.subarray(2, end)));
        received = received.subarray(end);
      }
      if (replies.length < packets.length) return;
      resolve(replies);
      socket.destroy();
    });
    const framed = packets.flatMap((packet) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(packet.length);
      return [length, packet];
    });
    socket.write(Buffer.concat(framed));
  });
}

export interface OtherServer {
  readonly port: number;
  /** Names asked for, in order; health checks are `.`. */
  readonly asked: string[];
  /** What is done with a question; undefined: silence. */
  behave: (name: string, type: string) => OtherReply | undefined;
  close(): void;
}

export interface OtherReply {
  readonly rcode?: number;
  readonly answers?: dnsPacket.Answer[];
  readonly authorities?: dnsPacket.Answer[];
  readonly truncated?: boolean;
}

/** A name server of somebody else's, on UDP; over TCP where `tcp` says what it answers there. */
export async function otherServer(behave: OtherServer['behave'], port = 0): Promise<OtherServer> {
  const socket: Socket = createSocket('udp4');
  const other: OtherServer = { port: 0, asked: [], behave, close: () => socket.close() };
  socket.on('message', (packet, from) => {
    const query = dnsPacket.decode(packet);
    const [question] = query.questions ?? [];
    other.asked.push(question?.name ?? '');
    const reply = other.behave(question?.name ?? '', question?.type ?? '');
    if (reply === undefined) return;
    const bytes = dnsPacket.encode({
      type: 'response',
      id: query.id ?? 0,
      flags: (reply.rcode ?? 0) | (reply.truncated === true ? dnsPacket.TRUNCATED_RESPONSE : 0),
      questions: query.questions ?? [],
      answers: reply.answers ?? [],
      authorities: reply.authorities ?? [],
    });
    socket.send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, '127.0.0.1', resolve));
  return Object.assign(other, { port: socket.address().port });
}

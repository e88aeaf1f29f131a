// SPDX-License-Identifier: Apache-2.0
// The `log` plugin: one line for each query, in CoreDNS' forms.

import { isWithinAny } from './names.ts';
import { rcodes, recordTypes } from './wire.ts';
import type { LogConfig } from './corefile.ts';
import type { Query } from './wire.ts';

export interface LoggedQuery {
  readonly query: Query;
  readonly reply: Buffer;
  readonly rcode: number;
  readonly client: { readonly address: string; readonly port: number; readonly transport: 'udp' | 'tcp' };
  readonly queryLength: number;
  readonly seconds: number;
}

const typeNames = new Map<number, string>(Object.entries(recordTypes).map(([name, code]) => [code, name]));
const rcodeNames = new Map<number, string>(Object.entries(rcodes).map(([name, code]) => [code, name]));

/** The line for a query; undefined when it is not of the classes or zones to log. */
export function logLine(config: LogConfig, logged: LoggedQuery): string | undefined {
  if (config.zones.length > 0 && !isWithinAny(logged.query.name, config.zones)) return undefined;
  if (!config.classes.includes('all') && !config.classes.includes(classOf(logged))) return undefined;
  return config.format.replaceAll(/\{([^{}]*)\}/g, (_, field) => valueOf(String(field), logged));
}

function classOf({ rcode, reply }: LoggedQuery): 'success' | 'denial' | 'error' {
  if (rcode !== rcodes.NOERROR && rcode !== rcodes.NXDOMAIN) return 'error';
  return rcode === rcodes.NXDOMAIN || reply.readUInt16BE(6) === 0 ? 'denial' : 'success';
}

function valueOf(field: string, { query, reply, rcode, client, queryLength, seconds }: LoggedQuery): string {
  switch (field) {
    case 'remote':
      return client.address.includes(':') ? `[${client.address}]` : client.address;
    case 'port':
      return String(client.port);
    case 'proto':
      return client.transport;
    case '>id':
      return String(query.id);
    case 'type':
      return typeNames.get(query.type) ?? `TYPE${query.type}`;
    case 'class':
      return query.class === 1 ? 'IN' : `CLASS${query.class}`;
    case 'name':
      // Bytes of a client must not become lines or escape codes of a log.
      return `${query.name.replaceAll(/[^!-~]/g, '?')}.`;
    case 'size':
      return String(queryLength);
    case '>do':
      return String(query.edns?.dnssecOk ?? false);
    case '>bufsize':
      return String(query.edns?.udpSize ?? (client.transport === 'tcp' ? 65_535 : 512));
    case 'rcode':
      return rcodeNames.get(rcode) ?? String(rcode);
    case '>rflags':
      return flagNames(reply.readUInt16BE(2));
    case '>opcode':
      return '0';
    case 'rsize':
      return String(reply.length);
    case 'duration':
      return `${seconds.toFixed(9)}s`;
    default:
      return '-';
  }
}

function flagNames(flags: number): string {
  const names = [
    [0x8000, 'qr'],
    [0x0400, 'aa'],
    [0x0200, 'tc'],
    [0x0100, 'rd'],
    [0x0080, 'ra'],
    [0x0020, 'ad'],
    [0x0010, 'cd'],
  ] as const;
  return names.flatMap(([bit, name]) => ((flags & bit) === 0 ? [] : [name])).join(',');
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The processes that bench/dns.ts measures: `server UPSTREAM-PORT`, the cluster's DNS server on cluster state from memory; `echo`, which
 * does nothing but send each packet back, and so shows what a UDP packet costs in this runtime; `replier`, a name server for the other side
 * of `forward`. Each prints `port N` and goes on until it is ended.
 */
import { createSocket } from 'node:dgram';
import { startDns, type MemoryCluster } from '../../cluster/dns/testing.ts';

const [mode, upstreamPort = '0', services = '0'] = process.argv.slice(2);

switch (mode) {
  case 'server':
    await serve();
    break;
  case 'echo':
    reply((packet) => {
      // A reply, not a query.
      packet[2] = (packet[2] ?? 0) | 0x80;
      return packet;
    });
    break;
  case 'replier':
    reply(address);
    break;
  default:
    throw new Error(`mode "${mode}" is not server, echo or replier`);
}

async function serve(): Promise<void> {
  const objects = {
    namespaces: ['default', 'kube-system'],
    services: Array.from({ length: Number(services) }, (_, index) => ({
      metadata: { name: `s${index}`, namespace: 'default' },
      spec: { clusterIP: `10.96.${index >> 8}.${index & 255}`, ports: [{ name: 'http', port: 80 }] },
    })),
    slices: [],
  };
  const dns = await startDns(
    `. {
      errors
      kubernetes cluster.local 10.96.0.0/16 10.244.0.0/16 in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
      }
      prometheus
      forward . 127.0.0.1:${upstreamPort} {
        max_concurrent 10000
      }
      cache 30
      loadbalance
    }`,
    { objects },
  );
  process.stdout.write(`port ${dns.port}\n`);
  // A changing cluster, for the case that answers cannot be kept ready.
  process.on('SIGUSR2', () => touch(dns.cluster));
}

let turn = 0;

function touch(cluster: MemoryCluster): void {
  const name = `changing${turn++ % 10}`;
  cluster.change('services', 'MODIFIED', {
    metadata: { name, namespace: 'default' },
    spec: { clusterIP: '10.96.255.1' },
  });
}

function reply(answer: (packet: Buffer) => Buffer): void {
  const socket = createSocket({
    type: 'udp4',
    recvBufferSize: 1 << 20,
    lookup: (hostname, _options, callback) => callback(null, hostname, 4),
  });
  socket.on('message', (packet, from) => socket.send(answer(packet), from.port, from.address));
  socket.bind(0, '127.0.0.1', () => process.stdout.write(`port ${socket.address().port}\n`));
}

/** 192.0.2.1 for whatever is asked. */
function address(packet: Buffer): Buffer {
  let end = 12;
  while ((packet[end] ?? 0) !== 0) end += 1 + (packet[end] ?? 0);
  const message = Buffer.concat([
    packet.subarray(0, end + 5),
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]),
  ]);
  message.writeUInt16BE(0x8180, 2);
  message.writeUInt16BE(1, 6);
  message.writeUInt16BE(0, 10);
  return message;
}

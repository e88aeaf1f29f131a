// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { createInflate } from 'node:zlib';
import { expect } from 'chai';
import * as fc from 'fast-check';
import { selfSigned } from './self-signed.ts';
import { dataFrame, SpdyConnection } from './spdy-client.ts';
import { frame, readFrame } from './web-socket.ts';

function masked(opcode: number, payload: Buffer): Buffer {
  const plain = frame(opcode, payload);
  const headLength = plain.length - payload.length;
  const head = Buffer.from(plain.subarray(0, headLength));
  head[1] = (head[1] ?? 0) | 0x80;
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index & 3] ?? 0))]);
}

describe('the serving certificate of its own', () => {
  it('is valid for the names of the node', () => {
    const { cert } = selfSigned(['node-1', '192.0.2.1'], Date.now());
    const parsed = new X509Certificate(cert);
    expect(parsed.verify(parsed.publicKey)).to.equal(true);
    expect([parsed.checkHost('node-1'), parsed.checkIP('192.0.2.1'), parsed.checkHost('other')]).to.deep.equal([
      'node-1',
      '192.0.2.1',
      undefined,
    ]);
  });
});

describe('WebSocket frames', () => {
  it('come back as they were sent, whatever their size', () => {
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 200_000]) {
      const payload = Buffer.alloc(size, size & 0xff);
      const sent = masked(2, payload);
      const got = readFrame(sent);
      if (got === undefined || got === 'invalid') throw new Error(`no frame of ${size} bytes`);
      expect([got.opcode, got.final, got.size]).to.deep.equal([2, true, sent.length]);
      expect(got.payload.equals(payload)).to.equal(true);
      expect(readFrame(sent.subarray(0, sent.length - 1))).to.equal(undefined);
    }
  });

  it('that no client may send are refused, and no bytes crash the reader', () => {
    expect(readFrame(frame(2, Buffer.from('unmasked')))).to.equal('invalid');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const got = readFrame(Buffer.from(bytes));
        return got === undefined || got === 'invalid' || got.size <= bytes.length;
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the SPDY client', () => {
  let server: ReturnType<typeof createServer>;
  let peer: Socket;
  let connection: SpdyConnection;

  beforeEach(async () => {
    const accepted = new Promise<Socket>((resolve) => {
      server = createServer(resolve);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    connection = new SpdyConnection(socket, Buffer.alloc(0));
    peer = await accepted;
  });
  afterEach(() => {
    connection.close();
    peer.destroy();
    server.close();
  });

  /** Bytes that reach the server, once at least `count` of them are there. */
  async function received(count: number): Promise<Buffer> {
    let bytes = Buffer.alloc(0);
    for await (const chunk of peer) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      if (bytes.length >= count) break;
    }
    return bytes;
  }

  it('opens streams with headers that any zlib reads', async () => {
    connection.open({ streamtype: 'error' });
    connection.open({ streamtype: 'stdin' });
    const bytes = await received(2 * (8 + 10) + 60);
    const inflate = createInflate();
    const text: Buffer[] = [];
    inflate.on('data', (chunk: Buffer) => text.push(chunk));
    const ids: number[] = [];
    for (let offset = 0; offset < bytes.length;) {
      const length = bytes.readUInt32BE(offset + 4) & 0xffffff;
      ids.push(bytes.readUInt32BE(offset + 8));
      await new Promise<void>((resolve) =>
        inflate.write(bytes.subarray(offset + 18, offset + 8 + length), () => resolve()),
      );
      offset += 8 + length;
    }
    expect(ids).to.deep.equal([1, 3]);
    expect(Buffer.concat(text).toString('latin1')).to.match(/streamtype.*error.*streamtype.*stdin/s);
  });

  it('delivers data by stream, in pieces of any size, and tells the end', async () => {
    const stream = connection.open({ streamtype: 'stdout' });
    const got: Buffer[] = [];
    stream.onData = (data) => got.push(Buffer.from(data));
    const ended = new Promise<void>((resolve) => (stream.onEnd = resolve));
    const wire = Buffer.concat([
      dataFrame(1, 0, Buffer.from('hel')),
      dataFrame(9, 0, Buffer.from('other')),
      dataFrame(1, 1, Buffer.from('lo')),
    ]);
    for (const byte of wire) peer.write(Buffer.from([byte]));
    await ended;
    expect(Buffer.concat(got).toString()).to.equal('hello');
  });
});

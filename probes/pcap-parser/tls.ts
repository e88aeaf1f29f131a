// SPDX-License-Identifier: Apache-2.0
/** The beginning of a TLS connection (RFC 8446): which server a client asks for, and which protocols it offers. */
import type { Frame } from './frame.ts';

export interface ClientHello {
  /** Name of the server that the client wants; undefined if it does not say. */
  readonly serverName: string | undefined;
  readonly protocols: readonly string[];
}

/** undefined: no ClientHello begins at `at`. A cut one gives what is there. */
export function clientHello(frame: Frame, at: number): ClientHello | undefined {
  if (frame.u8(at) !== 22 || frame.u8(at + 1) !== 3 || frame.u8(at + 5) !== 1) return undefined;
  let next = at + 9 + 34;
  next += 1 + Math.max(0, frame.u8(next));
  next += 2 + Math.max(0, frame.u16(next));
  next += 1 + Math.max(0, frame.u8(next));
  const end = Math.min(frame.end, next + 2 + Math.max(0, frame.u16(next)));
  next += 2;
  let serverName: string | undefined;
  const protocols: string[] = [];
  while (next + 4 <= end) {
    const type = frame.u16(next);
    const size = frame.u16(next + 2);
    const body = next + 4;
    if (type === 0 && body + 5 <= end) {
      const length = frame.u16(body + 3);
      if (body + 5 + length <= end) serverName = frame.data.toString('latin1', body + 5, body + 5 + length);
    } else if (type === 16) {
      for (let item = body + 2; item < Math.min(body + size, end);) {
        const length = frame.u8(item);
        if (length <= 0 || item + 1 + length > end) break;
        protocols.push(frame.data.toString('latin1', item + 1, item + 1 + length));
        item += 1 + length;
      }
    }
    next = body + size;
  }
  return { serverName, protocols };
}

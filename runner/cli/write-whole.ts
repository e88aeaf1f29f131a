// SPDX-License-Identifier: Apache-2.0
import { writeSync } from 'node:fs';

/** Writes all of it before it returns. Throws what the system says; EPIPE when the reader has gone. */
export function writeWhole(file: number, octets: Uint8Array): void {
  for (let at = 0; at < octets.length;) {
    try {
      at += writeSync(file, octets, at);
    } catch (error) {
      // A pipe that is full and does not block says so; it is tried again until its reader has taken something.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

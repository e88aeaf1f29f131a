// SPDX-License-Identifier: Apache-2.0
// The start-up handshake with a detached child: it says one line on standard output when it is ready, or ends.

import type { ChildProcess } from 'node:child_process';

/** Resolves to the first line, with the pipes released so that they keep neither side alive. */
export async function firstLine(child: ChildProcess, what: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let out = '';
  let err = '';
  child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()));
  child.stdout?.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    const end = out.indexOf('\n');
    if (end >= 0) resolve(out.slice(0, end));
  });
  child.on('error', reject);
  child.on('close', (code) =>
    reject(new Error(`${what} could not be made (code ${code}): ${err.trim() || 'no message'}`)),
  );
  const timer = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    reject(new Error(`${what} was not there after 20 s: ${err.trim() || 'no message'}`));
  }, 20_000);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.removeAllListeners();
    child.unref();
  }
}

// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { runAttempt, runAttempts } from './attempts.ts';
import { Listeners } from './listeners.ts';
import type { Attempt, Protocol } from './protocol.ts';

const port = 18_765;
let serial = 0;

function attempt(protocol: Protocol, more: Partial<Attempt> = {}): Attempt {
  return { nonce: `test-${serial++}`, protocol, host: '127.0.0.1', port, timeoutMs: 1000, ...more };
}

describe('agent: attempts against listeners', () => {
  const listeners = new Listeners();
  before(() =>
    listeners.open([
      { protocol: 'tcp', port },
      { protocol: 'udp', port },
    ]),
  );
  after(() => listeners.close(listeners.listening));

  for (const protocol of ['tcp', 'udp', 'http'] as const) {
    it(`${protocol}: is answered, learns the address that the server saw, and leaves a receipt`, async () => {
      const made = attempt(protocol);
      const result = await runAttempt(made);
      expect(result).to.include({ outcome: 'allowed', nonce: made.nonce });
      expect(result.server).to.include({ clientAddress: '127.0.0.1' });
      expect(listeners.receipts([made.nonce, 'never-sent'])).to.have.length(1);
    });
  }

  it('takes refusal, silence, a cut connection and a bad name apart', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    const cutting = createServer((socket) => socket.resetAndDestroy()).listen(0, '127.0.0.1');
    await Promise.all([once(silent, 'listening'), once(cutting, 'listening')]);
    const portOf = (server: typeof silent) => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    };
    try {
      const results = await runAttempts(
        [
          attempt('tcp', { port: 1 }),
          attempt('udp', { port: 1 }),
          attempt('tcp', { port: portOf(silent), timeoutMs: 200 }),
          attempt('http', { port: portOf(cutting) }),
          attempt('tcp', { host: 'no-such-name.invalid' }),
        ],
        2,
      );
      expect(results.map(({ outcome }) => outcome)).to.deep.equal([
        'refused',
        'refused',
        'dropped',
        'reset',
        'name-error',
      ]);
    } finally {
      silent.close();
      cutting.close();
    }
  });

  it('carries padding of more than one packet', async () => {
    expect(await runAttempt(attempt('tcp', { payloadBytes: 20_000 }))).to.include({ outcome: 'allowed' });
  });
});

describe('agent: conversation on stdio', () => {
  it('answers each line by its id, and wrong ones with an error', async () => {
    const agent = spawn(process.execPath, [fileURLToPath(new URL('agent-main.ts', import.meta.url)), 'stdio']);
    const replies: unknown[] = [];
    agent.stdin.write(
      'not json\n{"id":1,"operation":"hello","input":{}}\n{"id":2,"operation":"toString","input":{}}\n',
    );
    for await (const line of createInterface({ input: agent.stdout })) {
      replies.push(JSON.parse(line));
      if (replies.length === 2) agent.stdin.end();
    }
    expect(replies).to.have.length(2);
    expect(replies).to.deep.include({ id: 2, error: 'unknown operation toString' });
  });
});

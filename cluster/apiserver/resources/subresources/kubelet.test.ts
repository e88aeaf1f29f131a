// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

import { createAuthority, issue } from '../../../boot/certificates.ts';
import { askKubelet } from './kubelet.ts';

describe('asking a kubelet', function () {
  this.timeout(20_000);

  it('asks again when a kept connection turns out to be closed, and only then', async () => {
    const authority = await createAuthority('ca');
    const { certificate, key } = await issue(authority, { commonName: 'n', hosts: ['127.0.0.1'], usages: ['server'] });
    const served = new WeakMap<object, number>();
    const server = createServer({ cert: certificate, key }, ({ url, socket }, response) => {
      const before = served.get(socket) ?? 0;
      served.set(socket, before + 1);
      if (before > 0 || url === '/dead') socket.destroy();
      else response.end(url);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
    const credentials = { ca: authority.certificate };
    const ask = async (path: string): Promise<string> =>
      text(await askKubelet(credentials, address, { method: 'GET', path }));
    try {
      for (const path of ['/one', '/two', '/three']) expect(await ask(path)).to.equal(path);
      const dead = await ask('/dead').catch((error: Error) => error.message);
      expect(dead).to.include('error dialing backend');
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

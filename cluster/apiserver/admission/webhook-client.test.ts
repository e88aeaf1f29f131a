// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';

import { createAuthority, issue } from '../../boot/certificates.ts';
import type { Registry } from '../resources/definition.ts';
import { callWebhook } from './webhook-client.ts';

describe('calling a webhook', function () {
  this.timeout(20_000);

  it('gives what it answers, and says when it is late, refuses or is somebody else', async () => {
    const authority = await createAuthority('ca');
    const { certificate, key } = await issue(authority, { commonName: 'h', hosts: ['127.0.0.1'], usages: ['server'] });
    const server = createServer({ cert: certificate, key }, (request, response) => {
      if (request.url?.startsWith('/late') === true) return;
      response.statusCode = request.url?.startsWith('/broken') === true ? 500 : 200;
      request.pipe(response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const caBundle = Buffer.from(authority.certificate).toString('base64');
    const call = (path: string, bundle = caBundle): Promise<unknown> =>
      callWebhook({ url: `${url}${path}`, caBundle: bundle }, { a: 1 }, { registry: {} as Registry, seconds: 0.2 });
    const failure = (path: string, bundle?: string): Promise<string> =>
      call(path, bundle).then(
        () => 'none',
        (error: Error) => error.message,
      );
    try {
      expect(await call('/echo')).to.deep.equal({ a: 1 });
      expect(await failure('/late')).to.equal(`Post "${url}/late?timeout=0.2s": context deadline exceeded`);
      expect(await failure('/broken')).to.include('the server answered with status 500');
      const other = Buffer.from((await createAuthority('other')).certificate).toString('base64');
      expect(await failure('/echo', other)).to.include('certificate');
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

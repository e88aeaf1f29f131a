// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { ServiceHealthServer } from './service-health.ts';

describe('service health checks', () => {
  it('answer by local endpoints and the health of the proxy, and end with the Service', async () => {
    const port = await freePort();
    let healthy = true;
    const server = new ServiceHealthServer(
      () => healthy,
      (message) => expect.fail(message),
    );
    const check = { namespace: 'default', name: 'web', port, localEndpoints: 2 };
    const ask = () => fetch(`http://127.0.0.1:${port}/healthz`);
    server.sync([check]);
    const first = await ask();
    expect(first.status).to.equal(200);
    expect(await first.json()).to.deep.equal({
      service: { namespace: 'default', name: 'web' },
      localEndpoints: 2,
      serviceProxyHealthy: true,
    });
    server.sync([{ ...check, localEndpoints: 0 }]);
    expect((await ask()).status).to.equal(503);
    server.sync([check]);
    healthy = false;
    expect((await ask()).status).to.equal(503);
    server.close();
    const refused = await ask().then(
      () => false,
      () => true,
    );
    expect(refused).to.equal(true);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

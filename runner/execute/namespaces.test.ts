// SPDX-License-Identifier: Apache-2.0
/** What is left of namespaces and Leases when the cluster does not do its part. */
import { expect } from 'chai';
import type { KubeClients, RawRequest, RawResponse } from '../../suites/kube-clients.ts';
import { createNamespace } from './namespaces.ts';
import { holdLease } from './run-lease.ts';

const answer = (status: number): RawResponse => ({
  status,
  headers: {},
  body: Buffer.alloc(0),
  json: () => ({}),
});

/** Only what these functions ask of a cluster. */
function cluster(request: (request: RawRequest) => Promise<RawResponse>, asked: string[]): KubeClients {
  const parts: Partial<KubeClients> = {
    core: { createNamespace: async () => ({}) } as unknown as KubeClients['core'],
    coordination: { createNamespacedLease: async () => ({}) } as unknown as KubeClients['coordination'],
    request: (one) => {
      asked.push(`${one.method} ${one.path.replace(/plumb-\w+-\w+/, 'NAME')}`);
      return request(one);
    },
    waitForObject: () => Promise.reject(new Error('no ServiceAccount')),
  };
  return parts as KubeClients;
}

const { signal } = new AbortController();

describe('namespaces of a command', () => {
  it('go again when the controllers do not do their part', async () => {
    const asked: string[] = [];
    const kube = cluster(async () => answer(200), asked);
    const failed = await createNamespace(kube, { runId: 'r', purpose: 'x', signal }).catch((error: Error) => error);
    expect(failed).to.be.instanceOf(Error);
    expect(asked).to.include('DELETE /api/v1/namespaces/NAME');
  });

  it('need no controllers where they bring their own account', async () => {
    const asked: string[] = [];
    const kube = cluster(async () => answer(201), asked);
    await createNamespace(kube, { runId: 'r', purpose: 'x', makeAccount: true, signal });
    expect(asked).to.deep.equal(['POST /api/v1/namespaces/NAME/serviceaccounts']);
  });

  it('are held by a Lease that is renewed though one renewal gets no answer', async () => {
    const asked: string[] = [];
    let release: () => void = () => undefined;
    const hung = new Promise<RawResponse>((resolve) => (release = () => resolve(answer(200))));
    const thrice = new Promise<void>((resolve) => {
      const kube = cluster(async () => {
        if (asked.length === 3) resolve();
        return asked.length === 1 ? hung : answer(200);
      }, asked);
      void holdLease(kube, 'r', { namespace: 'n', durationS: 0.04 }).then((lease) => thrice.then(() => lease.stop()));
    });
    await thrice;
    release();
    expect(asked.length).to.be.at.least(3);
  });
});

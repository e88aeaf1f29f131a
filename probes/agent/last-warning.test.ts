// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { CoreV1Api, CoreV1Event } from '@kubernetes/client-node';
import { lastWarning } from './last-warning.ts';

const pod = { metadata: { namespace: 'shop', name: 'web', uid: 'u1' } };

function answering(list: (request: { namespace: string; fieldSelector?: string }) => Promise<unknown>): CoreV1Api {
  return { listNamespacedEvent: list } as unknown as CoreV1Api;
}

describe('lastWarning', () => {
  it('gives the newest warning, whichever of its three times an event has', async () => {
    const items: Partial<CoreV1Event>[] = [
      { reason: 'FailedMount', message: 'no volume', lastTimestamp: new Date('2026-01-01T00:00:09Z') },
      { reason: 'FailedCreatePodSandBox', message: 'no address', eventTime: new Date('2026-01-01T00:00:02Z') },
      {
        reason: 'BackOff',
        message: 'again',
        eventTime: new Date('2026-01-01T00:00:01Z'),
        series: { count: 2, lastObservedTime: new Date('2026-01-01T00:00:10Z') },
      },
    ] as unknown as Partial<CoreV1Event>[];
    const said = await lastWarning(
      answering((request) => {
        expect(request).to.deep.equal({ namespace: 'shop', fieldSelector: 'involvedObject.uid=u1,type=Warning' });
        return Promise.resolve({ items });
      }),
      pod,
    );
    expect(said).to.equal('; BackOff: again');
  });

  it('adds nothing where there is none, or where events may not be read', async () => {
    expect(
      await lastWarning(
        answering(() => Promise.resolve({ items: [] })),
        pod,
      ),
    ).to.equal('');
    expect(
      await lastWarning(
        answering(() => Promise.reject(new Error('403'))),
        pod,
      ),
    ).to.equal('');
  });
});

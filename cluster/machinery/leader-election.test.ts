// SPDX-License-Identifier: Apache-2.0
// Two candidates on one lease that is kept in memory with the API's own rules of resource versions.
import { expect } from 'chai';
import type { Lease } from './api-types.ts';
import { ApiError } from './client.ts';
import type { Client } from './client.ts';
import { runWithLeaderElection } from './leader-election.ts';

class LeaseStore {
  lease: Lease | undefined;
  unreachable = new Set<string>();

  clientFor(identity: string): Pick<Client, 'get' | 'create' | 'update'> {
    const fail = (code: number, reason: string): never => {
      throw new ApiError({ code, reason });
    };
    const reach = (): void => {
      if (this.unreachable.has(identity)) throw new Error('unreachable');
    };
    const store = (object: object): Lease => {
      const resourceVersion = String(Number(this.lease?.metadata.resourceVersion ?? 0) + 1);
      const given = object as Lease;
      this.lease = { ...given, metadata: { ...given.metadata, resourceVersion } };
      return this.lease;
    };
    return {
      get: async <T>() => {
        reach();
        return (this.lease ?? fail(404, 'NotFound')) as T;
      },
      create: async <T>(_: unknown, object: object) => {
        reach();
        return (this.lease ? fail(409, 'AlreadyExists') : store(object)) as T;
      },
      update: async <T>(_: unknown, object: object) => {
        reach();
        const same = (object as Lease).metadata.resourceVersion === this.lease?.metadata.resourceVersion;
        return (same ? store(object) : fail(409, 'Conflict')) as T;
      },
    };
  }
}

describe('machinery/leader-election', () => {
  const timing = { leaseDurationMs: 1000, renewDeadlineMs: 200, retryPeriodMs: 20 };
  let store: LeaseStore;
  let leaders: string[];

  beforeEach(() => {
    store = new LeaseStore();
    leaders = [];
  });

  const candidate = (identity: string, signal: AbortSignal): Promise<void> =>
    runWithLeaderElection(
      { client: store.clientFor(identity), name: 'l', identity, signal, ...timing },
      async (leading) => {
        leaders.push(identity);
        await new Promise<void>((resolve) => leading.addEventListener('abort', () => resolve()));
        leaders.splice(leaders.indexOf(identity), 1);
      },
    );

  const soon = async (check: () => boolean): Promise<void> => {
    for (let turn = 0; !check(); turn++) {
      if (turn > 300) throw new Error(`still waiting: leaders are ${leaders.join()}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };

  it('has one leader at a time, and the next at once when that one stops', async () => {
    const stopA = new AbortController();
    const stopB = new AbortController();
    const a = candidate('a', stopA.signal);
    await soon(() => leaders.join() === 'a');
    const b = candidate('b', stopB.signal);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(leaders).to.deep.equal(['a']);
    stopA.abort();
    await a;
    await soon(() => leaders.join() === 'b');
    expect(store.lease?.spec?.leaseTransitions).to.equal(1);
    stopB.abort();
    await b;
  });

  it('stops leading when the lease cannot be renewed, before another may take it', async () => {
    const stop = new AbortController();
    const a = candidate('a', stop.signal).catch((error: unknown) => String(error));
    await soon(() => leaders.join() === 'a');
    const b = candidate('b', stop.signal);
    store.unreachable.add('a');
    await soon(() => leaders.length === 0);
    expect(await a).to.include('lost the lease l');
    await soon(() => leaders.join() === 'b');
    stop.abort();
    await b;
  });
});

// SPDX-License-Identifier: Apache-2.0
// One leader among several copies of a component, by a Lease. It guarantees that `run`'s signal is aborted before
// another copy can hold the lease, judged by this process's own clock only: another holder counts as gone when its lease
// has not changed for its whole duration.
import type { Lease } from './api-types.ts';
import { isAlreadyExists, isConflict, isNotFound } from './client.ts';
import type { Client } from './client.ts';
import { logger } from './log.ts';
import { resources } from './resources.ts';

export interface LeaderElectionOptions {
  readonly client: Pick<Client, 'get' | 'create' | 'update'>;
  /** Name of the lease, e.g. `kube-scheduler`. */
  readonly name: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly signal: AbortSignal;
  /** `kube-system` when absent. */
  readonly namespace?: string;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryPeriodMs?: number;
}

/**
 * Waits for leadership, then runs `run` until it ends, `signal` aborts or the lease is lost; gives the lease back.
 * Errors: those of `run`, and a lost lease, after which the process should end and be started anew.
 */
export async function runWithLeaderElection(
  options: LeaderElectionOptions,
  run: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { signal, identity, name } = options;
  const retryPeriod = options.retryPeriodMs ?? 2000;
  const renewDeadline = options.renewDeadlineMs ?? 10_000;
  const log = logger('leader-election');
  const seat = new Seat(options);
  while (!(await seat.take().catch(logged(log)))) {
    await pause(retryPeriod * (1 + Math.random() * 0.2), signal);
    if (signal.aborted) return;
  }
  log.info('became leader', { lease: name, identity });

  const lost = new AbortController();
  const work = run(AbortSignal.any([signal, lost.signal]));
  let finished = false;
  const ended = work.finally(() => {
    finished = true;
    lost.abort();
  });
  ended.catch(() => {});
  let renewedAt = Date.now();
  const stop = AbortSignal.any([signal, lost.signal]);
  while (!stop.aborted) {
    await pause(retryPeriod, stop);
    if (stop.aborted) break;
    const renewed = await Promise.race([seat.take().catch(logged(log)), pause(renewDeadline, stop)]);
    if (renewed === true) renewedAt = Date.now();
    else if (renewed === false || Date.now() - renewedAt >= renewDeadline) break;
  }
  if (!stop.aborted) {
    lost.abort();
    await ended.catch(() => {});
    throw new Error(`lost the lease ${name}`);
  }
  await ended;
  if (finished) await seat.give().catch(logged(log));
}

class Seat {
  readonly #options: LeaderElectionOptions;
  #seen = { version: '', at: 0 };

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
  }

  /** True when the lease is ours now, false when somebody else holds it; rejects when the server does not say. */
  async take(): Promise<boolean> {
    const { client, identity, name } = this.#options;
    const namespace = this.#options.namespace ?? 'kube-system';
    const leaseDurationSeconds = Math.ceil((this.#options.leaseDurationMs ?? 15_000) / 1000);
    const now = microTime();
    let lease: Lease;
    try {
      lease = await client.get<Lease>(resources.leases, name, namespace);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const spec = {
        holderIdentity: identity,
        leaseDurationSeconds,
        acquireTime: now,
        renewTime: now,
        leaseTransitions: 0,
      };
      return settle(client.create(resources.leases, { metadata: { name, namespace }, spec }));
    }
    const held = lease.spec ?? {};
    const ours = held.holderIdentity === identity;
    const version = `${held.holderIdentity}/${held.renewTime}`;
    if (version !== this.#seen.version) this.#seen = { version, at: Date.now() };
    const expired = Date.now() - this.#seen.at > (held.leaseDurationSeconds ?? 0) * 1000;
    if (held.holderIdentity && !ours && !expired) return false;
    const spec = {
      ...held,
      holderIdentity: identity,
      leaseDurationSeconds,
      renewTime: now,
      ...(!ours && { acquireTime: now, leaseTransitions: (held.leaseTransitions ?? 0) + 1 }),
    };
    return settle(client.update(resources.leases, { ...lease, spec }));
  }

  /** Lets the next copy begin at once. */
  async give(): Promise<void> {
    const { client, identity, name } = this.#options;
    const lease = await client.get<Lease>(resources.leases, name, this.#options.namespace ?? 'kube-system');
    if (lease.spec?.holderIdentity !== identity) return;
    await client.update(resources.leases, {
      ...lease,
      spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime() },
    });
  }
}

/** A write that lost against another copy's means that the seat is taken. */
async function settle(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isConflict(error) || isAlreadyExists(error)) return false;
    throw error;
  }
}

function logged(log: ReturnType<typeof logger>): (error: unknown) => undefined {
  return (error) => {
    log.debug('cannot reach the lease', { error });
    return undefined;
  };
}

function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

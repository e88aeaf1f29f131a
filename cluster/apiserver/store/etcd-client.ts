// SPDX-License-Identifier: Apache-2.0
// A small etcd v3 client: the transactions that the store needs, ranges, leases, compaction and one kind of watch. Moves on
// to the next endpoint when one is away. Errors are `StatusError`s: 503 while etcd cannot be reached, 504 when it is too slow.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as grpc from '@grpc/grpc-js';
import { requestEntityTooLarge, serviceUnavailable, StatusError, timeout } from '../status.ts';
import { methods, toNumber } from './etcd-protocol.ts';
import { parseKey } from './keys.ts';
import type { KeyValue, Method, RangeResponse, TxnResponse, WatchResponse } from './etcd-protocol.ts';

export interface EtcdOptions {
  /** `https://10.0.0.1:2379`, one or more. */
  readonly endpoints: readonly string[];
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Told about every request to etcd. */
  readonly observe?: (request: EtcdObservation) => void;
}

export interface EtcdObservation {
  /** `create`, `update`, `delete`, `get`, `list`, `leaseGrant` or `compact`. */
  readonly operation: string;
  /** The resource that it was about; empty when it was none. */
  readonly type: string;
  readonly seconds: number;
}

/** The key's state that a transaction asks for: absent, or unchanged since `modRevision`. */
export type Precondition = 'absent' | { readonly modRevision: number };

/** `succeeded: false` brings the key's present state, undefined when it is not there. */
export type TxnResult =
  | { readonly succeeded: true; readonly revision: number }
  | { readonly succeeded: false; readonly revision: number; readonly current: KeyValue | undefined };

export interface WatchHandle {
  cancel(): void;
}

/** What a range or a watch meets when its revision has been compacted away. */
export class CompactedError extends Error {
  readonly compactRevision: number;
  constructor(compactRevision: number) {
    super(`required revision has been compacted; the oldest is ${compactRevision}`);
    this.compactRevision = compactRevision;
  }
}

const requestDeadlineMs = 10_000;
const compareEqual = 0;
const compareTargetMod = 2;

export class EtcdClient {
  readonly #clients: readonly grpc.Client[];
  readonly #observe: (request: EtcdObservation) => void;
  #current = 0;

  constructor(options: EtcdOptions) {
    const read = (file: string | undefined) => (file === undefined ? null : readFileSync(file));
    this.#clients = options.endpoints.map((endpoint) => {
      const url = new URL(endpoint);
      const credentials =
        url.protocol === 'https:'
          ? grpc.credentials.createSsl(read(options.caFile), read(options.keyFile), read(options.certFile))
          : grpc.credentials.createInsecure();
      return new grpc.Client(url.host, credentials, {
        // grpc-js takes 4 MB by default; a range of objects is larger.
        'grpc.max_receive_message_length': -1,
        'grpc.max_send_message_length': -1,
        'grpc.keepalive_time_ms': 10_000,
        'grpc.keepalive_timeout_ms': 5_000,
        'grpc.initial_reconnect_backoff_ms': 100,
        'grpc.min_reconnect_backoff_ms': 100,
        'grpc.max_reconnect_backoff_ms': 1_000,
      });
    });
    this.#observe = options.observe ?? (() => {});
  }

  close(): void {
    for (const client of this.#clients) {
      client.close();
    }
  }

  /** Keys in `[key, rangeEnd)`, at `revision` when given. Throws CompactedError. */
  range(options: {
    key: Buffer;
    rangeEnd?: Buffer;
    limit?: number;
    revision?: number;
    countOnly?: boolean;
  }): Promise<RangeResponse> {
    return this.#call({ operation: 'list', type: typeOf(options.key.toString()) }, methods.range, options);
  }

  /** The store's revision now, read through the quorum. */
  async currentRevision(): Promise<number> {
    const response = await this.#call({ operation: 'get', type: '' }, methods.range, {
      key: Buffer.from('/registry'),
      countOnly: true,
    });
    return toNumber(response.header.revision);
  }

  async put(
    key: string,
    value: Buffer,
    options: { precondition: Precondition; lease?: number | undefined },
  ): Promise<TxnResult> {
    const request = { requestPut: { key: Buffer.from(key), value, lease: options.lease ?? 0 } };
    return this.#txn(options.precondition === 'absent' ? 'create' : 'update', key, options.precondition, request);
  }

  async delete(key: string, modRevision: number): Promise<TxnResult> {
    return this.#txn('delete', key, { modRevision }, { requestDeleteRange: { key: Buffer.from(key) } });
  }

  /** Returns the lease's id. It is ours to choose: those that etcd makes up have 63 bits, more than a number holds exactly. */
  async grantLease(ttlSeconds: number): Promise<number> {
    const id = randomInt(1, 2 ** 47);
    await this.#call({ operation: 'leaseGrant', type: '' }, methods.leaseGrant, { TTL: ttlSeconds, ID: id });
    return id;
  }

  async compact(revision: number): Promise<void> {
    await this.#call({ operation: 'compact', type: '' }, methods.compact, { revision });
  }

  /**
   * Watches the whole key space from a revision on: so that every revision brings an event, and how far the events have
   * come is always known. `onEnd` is called once, with CompactedError when the start revision is gone.
   */
  watchAll(
    startRevision: number,
    onResponse: (response: WatchResponse) => void,
    onEnd: (error: Error) => void,
  ): WatchHandle {
    const { path, serialize, deserialize } = methods.watch;
    const client = this.#clients[this.#current % this.#clients.length] as grpc.Client;
    const stream = client.makeBidiStreamRequest(path, serialize, deserialize, new grpc.Metadata());
    let ended = false;
    const end = (error: Error) => {
      if (!ended) {
        ended = true;
        this.#current += 1;
        stream.cancel();
        onEnd(error);
      }
    };
    stream.on('data', (response: WatchResponse) => {
      if (ended) {
        return;
      }
      if (response.canceled) {
        const compactRevision = toNumber(response.compactRevision);
        end(compactRevision > 0 ? new CompactedError(compactRevision) : new Error(response.cancelReason));
      } else if (response.events.length > 0) {
        onResponse(response);
      }
    });
    stream.on('error', end);
    stream.on('end', () => end(new Error('etcd ended the watch')));
    const everything = Buffer.from([0]);
    stream.write({ createRequest: { key: everything, rangeEnd: everything, startRevision } });
    return {
      cancel() {
        ended = true;
        stream.cancel();
      },
    };
  }

  async #txn(operation: string, key: string, precondition: Precondition, request: object): Promise<TxnResult> {
    const keyBytes = Buffer.from(key);
    const modRevision = precondition === 'absent' ? 0 : precondition.modRevision;
    const response: TxnResponse = await this.#call({ operation, type: typeOf(key) }, methods.txn, {
      compare: [{ result: compareEqual, target: compareTargetMod, key: keyBytes, modRevision }],
      success: [request],
      failure: [{ requestRange: { key: keyBytes } }],
    });
    const revision = toNumber(response.header.revision);
    if (response.succeeded) {
      return { succeeded: true, revision };
    }
    return { succeeded: false, revision, current: response.responses[0]?.responseRange?.kvs[0] };
  }

  #call<Response>(
    about: { operation: string; type: string },
    method: Method<Response>,
    request: object,
  ): Promise<Response> {
    const started = performance.now();
    const attempt = (triesLeft: number): Promise<Response> => {
      const index = this.#current % this.#clients.length;
      const client = this.#clients[index] as grpc.Client;
      return new Promise<Response>((resolve, reject) => {
        client.makeUnaryRequest(
          method.path,
          method.serialize,
          method.deserialize,
          request,
          new grpc.Metadata(),
          { deadline: Date.now() + requestDeadlineMs },
          (error, response) => {
            if (error === null && response !== undefined) {
              resolve(response);
            } else if (error?.code === grpc.status.UNAVAILABLE && triesLeft > 0) {
              this.#current = index + 1;
              resolve(attempt(triesLeft - 1));
            } else {
              reject(toStatusError(error));
            }
          },
        );
      });
    };
    return attempt(this.#clients.length - 1).finally(() =>
      this.#observe({ ...about, seconds: (performance.now() - started) / 1000 }),
    );
  }
}

/** The resource in a key or in a prefix of keys. */
function typeOf(key: string): string {
  return parseKey(key.endsWith('/') ? `${key}-` : key)?.resource ?? '';
}

function toStatusError(error: grpc.ServiceError | null): Error {
  const text = error?.details ?? 'etcd gave no answer';
  switch (error?.code) {
    case grpc.status.OUT_OF_RANGE:
      return new CompactedError(0);
    case grpc.status.UNAVAILABLE:
    case grpc.status.CANCELLED:
      return serviceUnavailable(`etcd cannot be reached: ${text}`);
    case grpc.status.DEADLINE_EXCEEDED:
      return timeout('etcdserver: request timed out');
    case grpc.status.INVALID_ARGUMENT:
    case grpc.status.RESOURCE_EXHAUSTED:
      return /too large|larger than max/.test(text)
        ? requestEntityTooLarge(text)
        : new StatusError(500, 'InternalError', text);
    default:
      return new StatusError(500, 'InternalError', text);
  }
}

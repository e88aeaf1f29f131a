// SPDX-License-Identifier: Apache-2.0
// The part of etcd's v3 gRPC protocol that the store uses, as a protobufjs descriptor: names and field numbers are the
// wire contract. Kept as data so that it survives bundling.
import protobuf from 'protobufjs';

type Fields = Record<string, readonly [type: string, id: number, rule?: 'repeated']>;

function message(fields: Fields, oneofs?: Record<string, string[]>): protobuf.IType {
  return {
    fields: Object.fromEntries(
      Object.entries(fields).map(([name, [type, id, rule]]) => [
        name,
        rule === undefined ? { type, id } : { type, id, rule },
      ]),
    ),
    ...(oneofs === undefined
      ? {}
      : { oneofs: Object.fromEntries(Object.entries(oneofs).map(([name, oneof]) => [name, { oneof }])) }),
  };
}

const root = protobuf.Root.fromJSON({
  nested: {
    ResponseHeader: message({ clusterId: ['uint64', 1], memberId: ['uint64', 2], revision: ['int64', 3] }),
    KeyValue: message({
      key: ['bytes', 1],
      createRevision: ['int64', 2],
      modRevision: ['int64', 3],
      version: ['int64', 4],
      value: ['bytes', 5],
      lease: ['int64', 6],
    }),
    RangeRequest: message({
      key: ['bytes', 1],
      rangeEnd: ['bytes', 2],
      limit: ['int64', 3],
      revision: ['int64', 4],
      serializable: ['bool', 7],
      keysOnly: ['bool', 8],
      countOnly: ['bool', 9],
    }),
    RangeResponse: message({
      header: ['ResponseHeader', 1],
      kvs: ['KeyValue', 2, 'repeated'],
      more: ['bool', 3],
      count: ['int64', 4],
    }),
    PutRequest: message({ key: ['bytes', 1], value: ['bytes', 2], lease: ['int64', 3] }),
    PutResponse: message({ header: ['ResponseHeader', 1] }),
    DeleteRangeRequest: message({ key: ['bytes', 1], rangeEnd: ['bytes', 2] }),
    DeleteRangeResponse: message({ header: ['ResponseHeader', 1], deleted: ['int64', 2] }),
    RequestOp: message(
      {
        requestRange: ['RangeRequest', 1],
        requestPut: ['PutRequest', 2],
        requestDeleteRange: ['DeleteRangeRequest', 3],
      },
      { request: ['requestRange', 'requestPut', 'requestDeleteRange'] },
    ),
    ResponseOp: message(
      {
        responseRange: ['RangeResponse', 1],
        responsePut: ['PutResponse', 2],
        responseDeleteRange: ['DeleteRangeResponse', 3],
      },
      { response: ['responseRange', 'responsePut', 'responseDeleteRange'] },
    ),
    // `result` and `target` are enums on the wire; 0 EQUAL, 0 VERSION, 2 MOD.
    Compare: message(
      {
        result: ['int32', 1],
        target: ['int32', 2],
        key: ['bytes', 3],
        version: ['int64', 4],
        modRevision: ['int64', 6],
      },
      { targetUnion: ['version', 'modRevision'] },
    ),
    TxnRequest: message({
      compare: ['Compare', 1, 'repeated'],
      success: ['RequestOp', 2, 'repeated'],
      failure: ['RequestOp', 3, 'repeated'],
    }),
    TxnResponse: message({
      header: ['ResponseHeader', 1],
      succeeded: ['bool', 2],
      responses: ['ResponseOp', 3, 'repeated'],
    }),
    CompactionRequest: message({ revision: ['int64', 1], physical: ['bool', 2] }),
    CompactionResponse: message({ header: ['ResponseHeader', 1] }),
    LeaseGrantRequest: message({ TTL: ['int64', 1], ID: ['int64', 2] }),
    LeaseGrantResponse: message({ header: ['ResponseHeader', 1], ID: ['int64', 2], TTL: ['int64', 3] }),
    WatchCreateRequest: message({ key: ['bytes', 1], rangeEnd: ['bytes', 2], startRevision: ['int64', 3] }),
    WatchRequest: message({ createRequest: ['WatchCreateRequest', 1] }, { requestUnion: ['createRequest'] }),
    // `type` is an enum on the wire; 0 PUT, 1 DELETE.
    Event: message({ type: ['int32', 1], kv: ['KeyValue', 2] }),
    WatchResponse: message({
      header: ['ResponseHeader', 1],
      watchId: ['int64', 2],
      created: ['bool', 3],
      canceled: ['bool', 4],
      compactRevision: ['int64', 5],
      cancelReason: ['string', 6],
      events: ['Event', 11, 'repeated'],
    }),
  },
});

/** 64-bit integers come as numbers or, where the `long` package is about, as its objects. */
export type Int64 = number | { toNumber(): number };

/** Revisions stay far below 2^53. */
export function toNumber(value: Int64 | undefined | null): number {
  return typeof value === 'number' ? value : (value?.toNumber() ?? 0);
}

export interface KeyValue {
  readonly key: Uint8Array;
  readonly createRevision: Int64;
  readonly modRevision: Int64;
  readonly value: Uint8Array;
}

interface Header {
  readonly revision: Int64;
}

export interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: Int64;
}

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly responseRange?: RangeResponse | null }[];
}

export interface LeaseGrantResponse {
  readonly ID: Int64;
}

export interface WatchEvent {
  readonly type: number;
  readonly kv: KeyValue;
}

export interface WatchResponse {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: Int64;
  readonly cancelReason: string;
  readonly events: readonly WatchEvent[];
}

export interface Method<Response> {
  readonly path: string;
  readonly serialize: (request: object) => Buffer;
  readonly deserialize: (bytes: Buffer) => Response;
}

function method<Response>(path: string, request: string, response: string): Method<Response> {
  const requestType = root.lookupType(request);
  const responseType = root.lookupType(response);
  return {
    path,
    serialize: (value) => Buffer.from(requestType.encode(value).finish()),
    deserialize: (bytes) => responseType.decode(bytes) as unknown as Response,
  };
}

export const methods = {
  range: method<RangeResponse>('/etcdserverpb.KV/Range', 'RangeRequest', 'RangeResponse'),
  txn: method<TxnResponse>('/etcdserverpb.KV/Txn', 'TxnRequest', 'TxnResponse'),
  compact: method<object>('/etcdserverpb.KV/Compact', 'CompactionRequest', 'CompactionResponse'),
  leaseGrant: method<LeaseGrantResponse>('/etcdserverpb.Lease/LeaseGrant', 'LeaseGrantRequest', 'LeaseGrantResponse'),
  watch: method<WatchResponse>('/etcdserverpb.Watch/Watch', 'WatchRequest', 'WatchResponse'),
} as const;

// SPDX-License-Identifier: Apache-2.0
// A gRPC client for one service of a generated descriptor. Guarantees: one connection per client, made on first use and remade by
// itself; no message size limit; every call has a deadline; 64-bit integers are JavaScript numbers.
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';

/** A message as accepted for sending: every field may be left out. */
export type Outgoing<T> = T extends Buffer
  ? Buffer
  : T extends readonly (infer Item)[]
    ? readonly Outgoing<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]?: Outgoing<T[Key]> | undefined }
      : T;

export interface CallOptions {
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED; Infinity for none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ServiceClient {
  call<Response>(method: string, request: object, options?: CallOptions): Promise<Response>;
  /** Opens a server stream; resolves when the server ends it, rejects when it breaks. */
  stream<Response>(
    method: string,
    request: object,
    options: { onMessage: (message: Response) => void; signal: AbortSignal; metadata?: Record<string, string> },
  ): Promise<void>;
  close(): void;
}

export const grpcStatus = grpc.status;

/** The gRPC status code of an error, or undefined when it is not one of gRPC's. */
export function grpcCode(error: unknown): grpc.status | undefined {
  const code = error instanceof Error ? (error as Partial<grpc.ServiceError>).code : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** The server's own words, without gRPC's "2 UNKNOWN: " prefix. */
export function grpcMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return (error as Partial<grpc.ServiceError>).details ?? error.message;
}

const roots = new Map<object, protobuf.Root>();
const decoding: protobuf.IConversionOptions = {
  longs: Number,
  enums: String,
  defaults: true,
  arrays: true,
  objects: true,
};

function rootOf(descriptor: object): protobuf.Root {
  let root = roots.get(descriptor);
  if (root === undefined) {
    root = protobuf.Root.fromJSON(descriptor as protobuf.INamespace);
    roots.set(descriptor, root);
  }
  return root;
}

/** `address` is `unix:///path` or `host:port`; `service` the full name, such as `runtime.v1.RuntimeService`. */
export function connectService(descriptor: object, service: string, address: string): ServiceClient {
  const definition = rootOf(descriptor).lookupService(service);
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  });
  const methodOf = (name: string) => {
    const method = definition.methods[name];
    if (method === undefined) throw new Error(`service ${service} has no method ${name}`);
    method.resolve();
    const { resolvedRequestType: input, resolvedResponseType: output } = method;
    if (input === null || output === null) throw new Error(`method ${service}/${name} is not resolved`);
    return {
      path: `/${service}/${name}`,
      serialize: (value: object): Buffer => Buffer.from(input.encode(input.fromObject(value)).finish()),
      deserialize: (bytes: Buffer): object => output.toObject(output.decode(bytes), decoding),
    };
  };
  return {
    call<Response>(name: string, request: object, options: CallOptions = {}): Promise<Response> {
      const method = methodOf(name);
      const deadline = Date.now() + (options.timeoutMs ?? 120_000);
      return new Promise<Response>((resolve, reject) => {
        options.signal?.throwIfAborted();
        const call = client.makeUnaryRequest(
          method.path,
          method.serialize,
          method.deserialize,
          request,
          new grpc.Metadata(),
          { deadline },
          (error, response) => {
            options.signal?.removeEventListener('abort', abort);
            if (error === null) resolve(response as Response);
            else reject(error);
          },
        );
        const abort = (): void => call.cancel();
        options.signal?.addEventListener('abort', abort, { once: true });
      });
    },
    stream<Response>(
      name: string,
      request: object,
      options: { onMessage: (message: Response) => void; signal: AbortSignal; metadata?: Record<string, string> },
    ): Promise<void> {
      const method = methodOf(name);
      const metadata = new grpc.Metadata();
      for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
      return new Promise<void>((resolve, reject) => {
        const call = client.makeServerStreamRequest(
          method.path,
          method.serialize,
          method.deserialize,
          request,
          metadata,
        );
        const abort = (): void => call.cancel();
        options.signal.addEventListener('abort', abort, { once: true });
        call.on('data', (message: object) => options.onMessage(message as Response));
        call.on('error', (error) => {
          options.signal.removeEventListener('abort', abort);
          reject(error);
        });
        call.on('end', () => {
          options.signal.removeEventListener('abort', abort);
          resolve();
        });
      });
    },
    close: () => client.close(),
  };
}

// SPDX-License-Identifier: Apache-2.0
// Serves gRPC services of a descriptor on a unix socket. Handlers get decoded messages and answer with plain objects; a thrown
// `RpcError` becomes its status, anything else INTERNAL with the error's text.
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';

export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: grpc.status;

  constructor(code: keyof typeof grpc.status, message: string) {
    super(message);
    this.code = grpc.status[code];
  }
}

// Each handler knows the types of its own messages; the descriptor sees to it that they are met.
export type Handler = (request: never) => object | Promise<object>;

export interface ServedService {
  /** Full name, such as `csi.v1.Node`. */
  readonly name: string;
  /** By method name; a method of the descriptor without a handler answers UNIMPLEMENTED. */
  readonly handlers: Readonly<Record<string, Handler>>;
}

const decoding: protobuf.IConversionOptions = {
  longs: Number,
  enums: String,
  defaults: true,
  arrays: true,
  objects: true,
};

/** Listens on the socket, replacing a stale one. Resolves to a function that stops serving. */
export async function serveOnSocket(
  descriptor: object,
  path: string,
  services: readonly ServedService[],
): Promise<() => void> {
  const root = protobuf.Root.fromJSON(descriptor as protobuf.INamespace);
  const server = new grpc.Server();
  for (const { name, handlers } of services) addService(server, root.lookupService(name), { name, handlers });
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${path}`, grpc.ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(new Error(`cannot listen on ${path}`, { cause: error }));
    });
  });
  chmodSync(path, 0o600);
  return () => server.forceShutdown();
}

function addService(server: grpc.Server, service: protobuf.Service, { name, handlers }: ServedService): void {
  const definition: Record<string, grpc.MethodDefinition<object, object>> = {};
  const implementation: Record<string, grpc.handleUnaryCall<object, object>> = {};
  for (const [methodName, handler] of Object.entries(handlers)) {
    const method = service.methods[methodName];
    method?.resolve();
    const input = method?.resolvedRequestType;
    const output = method?.resolvedResponseType;
    if (!input || !output) throw new Error(`service ${name} has no method ${methodName}`);
    definition[methodName] = {
      path: `/${name}/${methodName}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (value) => Buffer.from(input.encode(input.fromObject(value)).finish()),
      requestDeserialize: (bytes) => input.toObject(input.decode(bytes), decoding),
      responseSerialize: (value) => Buffer.from(output.encode(output.fromObject(value)).finish()),
      responseDeserialize: (bytes) => output.toObject(output.decode(bytes), decoding),
    };
    implementation[methodName] = (call, callback) => {
      Promise.resolve()
        .then(() => handler(call.request as never))
        .then(
          (response) => callback(null, response),
          (error: unknown) => callback(statusOf(error)),
        );
    };
  }
  server.addService(definition, implementation);
}

function statusOf(error: unknown): Partial<grpc.StatusObject> {
  if (error instanceof RpcError) return { code: error.code, details: error.message };
  return { code: grpc.status.INTERNAL, details: error instanceof Error ? error.message : String(error) };
}

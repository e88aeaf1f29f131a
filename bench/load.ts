// SPDX-License-Identifier: Apache-2.0
/** Hands orders to the client process (`load-client.ts`) and waits for their results. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Endpoint } from './api-client.ts';
import type { Bench } from './benchmark.ts';
import { unlessAborted } from './processes.ts';

/** Every order with its arguments and its result. Paths and pods are those of `load-objects.ts`. */
export interface LoadOperations {
  /** Creates the objects, many at once. */
  create: { in: { endpoint: Endpoint; path: string; objects: readonly object[] }; out: Record<string, never> };
  /** One kind of request, over and over, for a time. */
  repeat: {
    in: {
      endpoint: Endpoint;
      namespace: string;
      operation: 'get' | 'list' | 'create' | 'patch' | 'status';
      durationMs: number;
      /** How many pods there are to get, patch and report on. */
      pods: number;
    };
    out: { count: number; elapsedMs: number; latencies: number[] };
  };
  /** Watches by many clients, each with a connection of its own, while pods are patched; until the last event has arrived. */
  fanOut: {
    in: {
      endpoint: Endpoint;
      namespace: string;
      watchers: number;
      durationMs: number;
      pods: number;
      /** Process whose processor time is taken from the moment on at which all watch. */
      serverPid: number;
    };
    out: { events: number; lost: number; elapsedMs: number; processorSeconds: number };
  };
  /** From sending a patch to its event, one after the other. */
  watchLatency: {
    in: { endpoint: Endpoint; namespace: string; samples: number };
    out: { latencies: number[] };
  };
  /** Times (milliseconds since the epoch) at which the pods of a namespace were seen to have a node. */
  awaitBindings: {
    in: { endpoint: Endpoint; namespace: string; count: number; timeoutMs: number };
    out: { boundAt: number[] };
  };
}

export interface LoadOrder<Name extends keyof LoadOperations = keyof LoadOperations> {
  readonly id: number;
  readonly operation: Name;
  readonly input: LoadOperations[Name]['in'];
}

/** Id -1: the watch of `awaitBindings` has been accepted. */
export type LoadReply =
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly error: string };

export interface Load {
  do<Name extends keyof LoadOperations>(
    operation: Name,
    input: LoadOperations[Name]['in'],
  ): Promise<LoadOperations[Name]['out']>;
  /** Resolves when the next `awaitBindings` watches. */
  watching(): Promise<void>;
}

export function startLoad(bench: Bench): Load {
  const child = fork(fileURLToPath(new URL('load-client.ts', import.meta.url)), { execArgv: [], detached: true });
  bench.onCleanup(() => void child.kill('SIGKILL'));
  const waiting = new Map<number, { resolve: (output: unknown) => void; reject: (error: Error) => void }>();
  let watching = Promise.withResolvers<void>();
  let nextId = 1;
  child.on('message', (reply: LoadReply) => {
    if (reply.id === -1) {
      watching.resolve();
      return;
    }
    const one = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ('error' in reply) one?.reject(new Error(reply.error));
    else one?.resolve(reply.output);
  });
  child.on('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`the load client ended with ${code}`));
  });
  return {
    do: (operation, input) => {
      const id = nextId++;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      waiting.set(id, { resolve, reject });
      if (operation === 'awaitBindings') watching = Promise.withResolvers<void>();
      child.send({ id, operation, input } satisfies LoadOrder);
      // Both ends are of one version, so the shape is the operation's.
      return unlessAborted(promise as Promise<LoadOperations[typeof operation]['out']>, bench.signal);
    },
    watching: () => unlessAborted(watching.promise, bench.signal),
  };
}

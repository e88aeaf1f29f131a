// SPDX-License-Identifier: Apache-2.0
/** Waits for a state of one object by watching it: sees the state at once, survives the end of a watch and a server that comes back. */
import type { KubernetesObject } from '@kubernetes/client-node';
import { lastWarning } from '../../probes/agent/last-warning.ts';
import type { Progress } from '../../suites/case.ts';
import { pending } from '../../suites/case.ts';
import type { KubeClients, ObjectReference } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import { RequestFailed, resourceOf } from './discovery.ts';
import { pause } from './pause.ts';

const retryDelayMs = 500;

export interface ObjectWait<T extends KubernetesObject, R> {
  readonly description: string;
  readonly condition: (object: T | undefined) => Progress<R>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export async function waitForObject<T extends KubernetesObject, R>(
  kube: KubeClients,
  reference: ObjectReference,
  wait: ObjectWait<T, R>,
): Promise<R> {
  const timeoutMs = wait.timeoutMs ?? 60_000;
  const timeout = AbortSignal.timeout(timeoutMs);
  const ended = new AbortController();
  const signal = AbortSignal.any([timeout, ended.signal, ...(wait.signal === undefined ? [] : [wait.signal])]);
  let last: Progress<R> = pending('nothing seen yet');
  let seen: T | undefined;
  try {
    const path = (await resourceOf(kube, reference.apiVersion, reference.kind)).path(reference.namespace);
    while (!signal.aborted) {
      try {
        for await (const object of states<T>(kube, { path, name: reference.name, signal })) {
          last = judge(wait.condition, object);
          seen = object;
          if (last.done) return last.value;
        }
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof ConditionThrew) throw error.cause;
        if (isClientError(error)) throw error;
        last = pending(`${last.done ? '' : last.state} (${messageOf(error)})`);
        await pause(retryDelayMs, signal);
      }
    }
  } finally {
    ended.abort();
  }
  wait.signal?.throwIfAborted();
  const state = last.done ? '' : last.state.trimEnd();
  const warning = seen === undefined ? '' : await lastWarning(kube.core, seen);
  throw new Error(
    `waited ${timeoutMs} ms for ${wait.description}; last state of ${reference.kind} ${reference.name}: ${state}${warning}`,
  );
}

/** Every state of the object, the present one first; ends when the server ends the watch. */
async function* states<T extends KubernetesObject>(
  kube: KubeClients,
  options: { readonly path: string; readonly name: string; readonly signal: AbortSignal },
): AsyncGenerator<T | undefined> {
  const selector = `fieldSelector=${encodeURIComponent(`metadata.name=${options.name}`)}`;
  const response = await kube.request({ path: `${options.path}?${selector}`, signal: options.signal });
  if (response.status !== 200)
    throw new RequestFailed(response.status, `GET ${options.path}`, response.body.toString());
  const list = response.json() as { metadata: { resourceVersion: string }; items: T[] };
  yield list.items[0];
  const query = { resourceVersion: list.metadata.resourceVersion };
  for await (const event of kube.watch<T>(`${options.path}?${selector}`, { query, signal: options.signal })) {
    if (event.type === 'ERROR') return;
    if (event.type === 'BOOKMARK') continue;
    yield event.type === 'DELETED' ? undefined : event.object;
  }
}

/** Tells an error of the condition, which ends the wait, from one of the connection, which does not. */
class ConditionThrew extends Error {}

function judge<T, R>(condition: (object: T | undefined) => Progress<R>, object: T | undefined): Progress<R> {
  try {
    return condition(object);
  } catch (error) {
    throw new ConditionThrew('the condition threw', { cause: error });
  }
}

function isClientError(error: unknown): boolean {
  return (
    error instanceof RequestFailed &&
    error.status >= 400 &&
    error.status < 500 &&
    error.status !== 429 &&
    error.status !== 410
  );
}

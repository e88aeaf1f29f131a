// SPDX-License-Identifier: Apache-2.0
// Writes pod statuses to the API with as few requests as possible: equal statuses are not written, changes during start-up are gathered for a
// moment, and one request per pod is under way at a time. What is set here is what the API will show, sooner or later: writes are retried.
import { setTimeout as pause } from 'node:timers/promises';
import type { Pod, PodStatus } from '../../machinery/api-types.ts';
import { isConflict, isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { logger } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { identityOf, isTerminalPhase } from './pod-facts.ts';

interface Entry {
  pod: Pod;
  status: PodStatus;
  /** As last written or read. */
  written: string;
  writing: Promise<void> | undefined;
  timer: NodeJS.Timeout | undefined;
}

const gatherMs = 250;
const log = logger('status');

export class StatusManager {
  readonly #client: Client;
  readonly #entries = new Map<string, Entry>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** The newest status, written or not. */
  get(uid: string): PodStatus | undefined {
    return this.#entries.get(uid)?.status;
  }

  /** `pod` is the API object to write to: the pod itself, or its mirror. */
  set(uid: string, pod: Pod, status: PodStatus): void {
    let entry = this.#entries.get(uid);
    if (entry === undefined) {
      entry = { pod, status, written: fingerprint(pod.status ?? {}), writing: undefined, timer: undefined };
      this.#entries.set(uid, entry);
    } else if (entry.pod.metadata.uid !== pod.metadata.uid) entry.written = '';
    entry.pod = pod;
    entry.status = status;
    if (fingerprint(status) === entry.written) return;
    if (entry.writing !== undefined) return;
    const startingUp = status.phase === 'Pending' && !isTerminalPhase(entry.pod.status?.phase) && !hasTrouble(status);
    if (startingUp && entry.timer !== undefined) return;
    clearTimeout(entry.timer);
    const current = entry;
    if (startingUp) entry.timer = setTimeout(() => this.#write(uid, current), gatherMs);
    else this.#write(uid, current);
  }

  /** Someone else may have overwritten the status: compares what the API shows with what it should. */
  reconcile(uid: string, pod: Pod): void {
    const entry = this.#entries.get(uid);
    if (entry === undefined || entry.writing !== undefined || entry.timer !== undefined) return;
    entry.pod = pod;
    const shown = fingerprint(pod.status ?? {});
    if (shown === entry.written) return;
    entry.written = shown;
    if (fingerprint(entry.status) !== shown) this.#write(uid, entry);
  }

  /** Resolves when the API has the newest status (or the pod is gone). */
  async flush(uid: string): Promise<void> {
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    if (entry.timer !== undefined) {
      clearTimeout(entry.timer);
      this.#write(uid, entry);
    }
    while (entry.writing !== undefined && this.#entries.get(uid) === entry) await entry.writing;
  }

  forget(uid: string): void {
    clearTimeout(this.#entries.get(uid)?.timer);
    this.#entries.delete(uid);
  }

  #write(uid: string, entry: Entry): void {
    entry.timer = undefined;
    entry.writing ??= this.#writeUntilEqual(uid, entry).finally(() => {
      entry.writing = undefined;
      // A status that came in just as the last write ended.
      if (this.#entries.get(uid) === entry && fingerprint(entry.status) !== entry.written) this.#write(uid, entry);
    });
  }

  async #writeUntilEqual(uid: string, entry: Entry): Promise<void> {
    let delay = 100;
    while (this.#entries.get(uid) === entry && fingerprint(entry.status) !== entry.written) {
      const { name, namespace } = identityOf(entry.pod);
      const { status } = entry;
      try {
        await this.#client.patch<Pod>(resources.pods, name, {
          namespace,
          type: 'strategic',
          subresource: 'status',
          body: { metadata: { uid: entry.pod.metadata.uid }, status: patchOf(status, entry.pod.status ?? {}) },
        });
        entry.written = fingerprint(status);
        entry.pod = {
          ...entry.pod,
          status: { ...status, conditions: mergedConditions(entry.pod.status ?? {}, status) },
        };
        delay = 100;
      } catch (error) {
        if (isNotFound(error) || isConflict(error)) {
          // The object is gone, or another one has its name by now.
          entry.written = fingerprint(status);
          return;
        }
        log.debug('cannot write pod status, will try again', { pod: `${namespace}/${name}`, error });
        await pause(delay);
        delay = Math.min(delay * 2, 10_000);
      }
    }
  }
}

/** A container that can't start is worth telling at once. */
function hasTrouble(status: PodStatus): boolean {
  const all = [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])];
  return all.some((container) => {
    const reason = container.state?.waiting?.reason;
    return reason !== undefined && reason !== 'ContainerCreating' && reason !== 'PodInitializing';
  });
}

/** A strategic merge patch that makes `status` true without touching conditions of others. */
function patchOf(status: PodStatus, old: PodStatus): Record<string, unknown> {
  const patch: Record<string, unknown> = { ...status };
  for (const field of ['message', 'reason', 'podIP'] as const) {
    if (old[field] !== undefined && status[field] === undefined) patch[field] = null;
  }
  // A merge keeps what isn't mentioned: words that no longer hold must be taken away.
  patch['conditions'] = (status.conditions ?? []).map((condition) => {
    const before = old.conditions?.find((one) => one.type === condition.type);
    return {
      ...condition,
      ...(before?.reason && condition.reason === undefined && { reason: null }),
      ...(before?.message && condition.message === undefined && { message: null }),
    };
  });
  const oldIPs = (old.podIPs ?? []).map(({ ip }) => ip).filter((ip) => ip !== undefined);
  const gone = oldIPs.filter((ip) => !status.podIPs?.some((kept) => kept.ip === ip));
  if (gone.length > 0) patch['podIPs'] = [...(status.podIPs ?? []), ...gone.map((ip) => ({ ip, $patch: 'delete' }))];
  return patch;
}

function mergedConditions(old: PodStatus, status: PodStatus): PodStatus['conditions'] & object {
  const own = status.conditions ?? [];
  return [...(old.conditions ?? []).filter((one) => !own.some((mine) => mine.type === one.type)), ...own];
}

/** What counts as a difference: all that the kubelet owns, in one order. */
function fingerprint(status: PodStatus): string {
  const owned = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'DisruptionTarget'];
  const conditions = (status.conditions ?? [])
    .filter((condition) => owned.includes(condition.type))
    .map(({ type, status: value, reason = '', message = '', observedGeneration }) => [
      type,
      value,
      reason,
      message,
      observedGeneration,
    ])
    .toSorted((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));
  return stable({ ...status, conditions, resize: undefined, qosClass: undefined, nominatedNodeName: undefined });
}

/** JSON with sorted keys, and without what is empty, since an API server drops that. */
function stable(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (inner === null || inner === '' || typeof inner !== 'object')
      return inner === null || inner === '' ? undefined : inner;
    if (Array.isArray(inner)) return inner;
    const entries = Object.entries(inner).filter(([, field]) => !isEmpty(field));
    return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

// SPDX-License-Identifier: Apache-2.0
// Watches: a cursor on the change log of a resource's cache, filtered and framed as the client asked. Frames are encoded once
// and shared by all watchers that want the same form. A watcher that does not read is paused, and ends with 410 when the log
// has moved past it.
import type { Writable } from 'node:stream';
import { NeedsConversion, converting } from '../extensions/conversion.ts';
import type { KubeObject } from '../resources/definition.ts';
import { expired, invalid } from '../status.ts';
import { replaceRevision, withRevision } from '../store/entry.ts';
import type { Entry } from '../store/entry.ts';
import type { CacheEvent, Cursor, ResourceCache } from '../store/resource-cache.ts';
import type { Core } from './core.ts';
import type { Exchange } from './exchange.ts';
import { freshEnough, parseRevision } from './reads.ts';
import { encodeEntry } from './representation.ts';
import type { View } from './representation.ts';
import { isTrue } from './request-info.ts';
import { selection } from './selection.ts';
import type { Selection } from './selection.ts';

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

const frameHeads: Readonly<Record<EventType, Buffer>> = {
  ADDED: Buffer.from('{"type":"ADDED","object":'),
  MODIFIED: Buffer.from('{"type":"MODIFIED","object":'),
  DELETED: Buffer.from('{"type":"DELETED","object":'),
};
const frameEnd = Buffer.from('}\n');
const initialEventsEnd = 'k8s.io/initial-events-end';
const bookmarkIntervalMs = 60_000;
const minTimeoutSeconds = 1_800;
/** Frames are gathered up to this size before they are written. */
const batchBytes = 256 * 1024;

export interface WatchRequest {
  readonly view: View;
  readonly namespace: string;
  readonly query: URLSearchParams;
  /** Ends the watch when the server stops. */
  readonly stop: AbortSignal;
}

/** Answers with a stream of events until the client leaves, the timeout is over or the server stops. */
export async function serveWatch(core: Core, exchange: Exchange, request: WatchRequest): Promise<void> {
  const { view, query } = request;
  const { served } = view;
  const selected = selection(served, request.namespace, query);
  const resourceVersion = query.get('resourceVersion') ?? '';
  const sendInitialEvents = readSendInitialEvents(query);
  const bookmarks = isTrue(query.get('allowWatchBookmarks'));
  const fromState = sendInitialEvents ?? (resourceVersion === '' || resourceVersion === '0');
  if (fromState) {
    await freshEnough(core, resourceVersion);
  }
  const cache = core.store.cache(served.storedAs);
  const all = (): KubeObject[] => cache.list(selected.namespace).map((entry) => entry.object);
  const state = (): { revision: number; entries: Entry[] } => ({
    revision: core.store.revision,
    entries: initialEntries(cache, selected),
  });
  const initial = fromState ? await converting(state, all) : undefined;
  const from =
    initial?.revision ??
    (resourceVersion === '' || resourceVersion === '0' ? core.store.revision : parseRevision(resourceVersion));
  const cursor = cache.cursor(from);
  const watcher = new Watcher({
    core,
    cache,
    selected,
    view,
    out: exchange.begin(200, { 'content-type': 'application/json' }),
  });
  exchange.onClose(() => watcher.stop());
  request.stop.addEventListener('abort', () => watcher.end(), { once: true });
  watcher.onStop(core.store.onReload(() => watcher.end()));
  if (cursor === undefined) {
    watcher.fail(`too old resource version: ${from} (${cache.oldestRevision})`);
    return;
  }
  watcher.start(cursor, initial?.entries ?? [], sendInitialEvents === true && bookmarks);
  if (bookmarks) {
    const timer = setInterval(() => watcher.bookmark(false), bookmarkIntervalMs);
    watcher.onStop(() => clearInterval(timer));
  }
  const timer = setTimeout(() => watcher.end(), timeoutMs(query));
  watcher.onStop(() => clearTimeout(timer));
}

class Watcher {
  readonly #core: Core;
  readonly #cache: ResourceCache;
  readonly #selected: Selection;
  readonly #view: View;
  readonly #out: Writable;
  readonly #frameKey: string;
  readonly #stopListeners: (() => void)[] = [];
  #cursor: Cursor | undefined;
  #initial: Entry[] = [];
  #initialAt = 0;
  #announceEnd = false;
  #paused = false;
  /** Read from the log, but not sent yet because its conversion is being asked for. */
  #held: CacheEvent | undefined;
  #converting = false;
  #stopped = false;

  constructor(options: { core: Core; cache: ResourceCache; selected: Selection; view: View; out: Writable }) {
    this.#core = options.core;
    this.#cache = options.cache;
    this.#selected = options.selected;
    this.#view = options.view;
    this.#out = options.out;
    const { served, representation, includeObject } = options.view;
    this.#frameKey = `${served.apiVersion} ${representation.kind} ${includeObject}`;
    this.#out.on('drain', () => {
      this.#paused = false;
      this.#pump();
    });
    this.#out.on('error', () => this.stop());
  }

  start(cursor: Cursor, initial: Entry[], announceEnd: boolean): void {
    this.#cursor = cursor;
    this.#initial = initial;
    this.#announceEnd = announceEnd;
    this.onStop(this.#cache.onChange(() => this.#pump()));
    this.#pump();
  }

  onStop(listener: () => void): void {
    if (this.#stopped) {
      listener();
    } else {
      this.#stopListeners.push(listener);
    }
  }

  /** Stops without a word: the client has left. */
  stop(): void {
    if (!this.#stopped) {
      this.#stopped = true;
      for (const listener of this.#stopListeners) {
        listener();
      }
    }
  }

  end(): void {
    if (!this.#stopped) {
      this.stop();
      this.#out.end();
    }
  }

  /** Ends with an ERROR event that sends the client back to a list. */
  fail(message: string): void {
    if (!this.#stopped) {
      this.#out.write(`${JSON.stringify({ type: 'ERROR', object: expired(message).status })}\n`);
      this.end();
    }
  }

  /** Tells how far the watch has come. Waits while events are outstanding. */
  bookmark(initialEnd: boolean): void {
    if (this.#stopped || this.#paused) {
      return;
    }
    const { served } = this.#view;
    const object: KubeObject = {
      kind: served.definition.kind,
      apiVersion: served.apiVersion,
      metadata: {
        resourceVersion: String(this.#core.store.revision),
        ...(initialEnd ? { annotations: { [initialEventsEnd]: 'true' } } : {}),
      },
    };
    const shown = this.#view.representation.kind === 'object' ? object : asRepresented(this.#view, object);
    this.#write([Buffer.from(`{"type":"BOOKMARK","object":${JSON.stringify(shown)}}\n`)]);
  }

  #pump(): void {
    while (!this.#stopped && !this.#paused && !this.#converting) {
      const frames: Buffer[] = [];
      try {
        if (this.#initialAt < this.#initial.length) {
          this.#initialFrames(frames);
        } else {
          this.#nextFrames(frames);
        }
      } catch (error) {
        this.#convert(error);
      }
      if (frames.length === 0) {
        return;
      }
      this.#write(frames);
    }
  }

  /** Goes on when the webhook has answered; ends when it has not. */
  #convert(error: unknown): void {
    if (!(error instanceof NeedsConversion)) {
      throw error;
    }
    this.#converting = true;
    error.answer(this.#initial.slice(this.#initialAt).map((entry) => entry.object)).then(
      () => {
        this.#converting = false;
        this.#pump();
      },
      () => this.end(),
    );
  }

  #initialFrames(frames: Buffer[]): void {
    for (let size = 0; size < batchBytes && this.#initialAt < this.#initial.length; this.#initialAt += 1) {
      const bytes = encodeEntry(this.#view, this.#initial[this.#initialAt] as Entry);
      frames.push(frameHeads.ADDED, bytes, frameEnd);
      size += bytes.length;
    }
    if (this.#initialAt >= this.#initial.length) {
      this.#initial = [];
      this.#initialAt = 0;
    }
  }

  #nextFrames(frames: Buffer[]): void {
    if (this.#announceEnd) {
      this.#announceEnd = false;
      this.bookmark(true);
    }
    for (let size = 0; size < batchBytes;) {
      const event = this.#held ?? (this.#cursor === undefined ? 'end' : this.#cache.read(this.#cursor));
      if (event === 'end') {
        break;
      }
      if (event === 'lost') {
        this.fail('too old resource version: the watch could not keep up with the changes');
        frames.length = 0;
        return;
      }
      this.#held = event;
      const frame = this.#frameOf(event);
      this.#held = undefined;
      if (frame !== undefined) {
        frames.push(frame);
        size += frame.length;
      }
    }
  }

  #frameOf(event: CacheEvent): Buffer | undefined {
    const { namespace, everything } = this.#selected;
    if (namespace !== '' && event.entry.namespace !== namespace) {
      return undefined;
    }
    if (everything) {
      return this.#frame(event, event.type, event.entry);
    }
    const before = event.previous !== undefined && this.#selected.matches(event.previous);
    const after = event.type !== 'DELETED' && this.#selected.matches(event.entry);
    if (after) {
      return this.#frame(event, before ? 'MODIFIED' : 'ADDED', event.entry);
    }
    return before ? this.#frame(event, 'DELETED', event.type === 'DELETED' ? event.entry : departed(event)) : undefined;
  }

  #frame(event: CacheEvent, type: EventType, entry: Entry): Buffer {
    const key = `${type} ${this.#frameKey}`;
    let frame = event.frames.get(key);
    if (frame === undefined) {
      frame = Buffer.concat([frameHeads[type], encodeEntry(this.#view, entry), frameEnd]);
      event.frames.set(key, frame);
    }
    return frame;
  }

  #write(frames: Buffer[]): void {
    const chunk = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
    this.#paused = !this.#out.write(chunk);
  }
}

/** An object that a selector no longer matches leaves in its last matching state, under the revision of the change. */
function departed(event: CacheEvent): Entry {
  const previous = event.previous as Entry;
  return {
    ...previous,
    revision: event.revision,
    object: withRevision(previous.object, event.revision),
    bytes: replaceRevision(previous.bytes, event.revision),
  };
}

function asRepresented(view: View, object: KubeObject): object {
  return view.representation.kind === 'metadata'
    ? { ...object, kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${view.representation.version}` }
    : {
        kind: 'Table',
        apiVersion: 'meta.k8s.io/v1',
        metadata: object.metadata,
        columnDefinitions: [],
        rows: [
          {
            cells: [],
            object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata },
          },
        ],
      };
}

function initialEntries(cache: ResourceCache, selected: Selection): Entry[] {
  const entries = cache.list(selected.namespace);
  return selected.everything ? entries : entries.filter((entry) => selected.matches(entry));
}

function readSendInitialEvents(query: URLSearchParams): boolean | undefined {
  const text = query.get('sendInitialEvents');
  const match = query.get('resourceVersionMatch') ?? '';
  const options = { group: 'meta.k8s.io', kind: 'ListOptions' };
  if (text === null) {
    if (match !== '') {
      const detail = 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided';
      throw invalid(options, '', [{ type: 'Forbidden', field: 'resourceVersionMatch', detail }]);
    }
    return undefined;
  }
  if (match !== 'NotOlderThan') {
    const detail = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
    throw invalid(options, '', [{ type: 'Forbidden', field: 'resourceVersionMatch', detail }]);
  }
  return isTrue(text);
}

function timeoutMs(query: URLSearchParams): number {
  const given = Number(query.get('timeoutSeconds') ?? 0);
  const seconds = Number.isFinite(given) && given > 0 ? given : minTimeoutSeconds * (1 + Math.random());
  return Math.min(seconds * 1000, 2 ** 31 - 1);
}

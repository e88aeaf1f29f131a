// SPDX-License-Identifier: Apache-2.0
// Get and list. Answers come from the watch cache once it is as fresh as the request demands; only later pages of a list whose
// state has moved on are read from etcd, at the revision of the first page.
import { badRequest, expired, notFound } from '../status.ts';
import type { StatusError } from '../status.ts';
import type { Entry } from '../store/entry.ts';
import { CompactedError } from '../store/etcd-client.ts';
import { resourcePrefix } from '../store/keys.ts';
import type { Served } from './catalog.ts';
import type { Core } from './core.ts';
import type { ListMetadata } from './representation.ts';
import { selection } from './selection.ts';
import type { Selection } from './selection.ts';

/** Throws 404, 504 for a resourceVersion that is not reached in time. */
export async function getEntry(
  core: Core,
  served: Served,
  at: { namespace: string; name: string; resourceVersion: string | null },
): Promise<Entry> {
  await freshEnough(core, at.resourceVersion);
  const entry = core.store.cache(served.storedAs).get(at.namespace, at.name);
  if (entry === undefined) {
    throw notFound(served.definition, at.name);
  }
  return entry;
}

export interface Page {
  readonly entries: readonly Entry[];
  readonly metadata: ListMetadata;
}

interface ContinueToken {
  readonly rv: number;
  /** Key of the first entry of the next page, relative to the resource's prefix. */
  readonly start: string;
}

export async function listEntries(
  core: Core,
  served: Served,
  namespace: string,
  query: URLSearchParams,
): Promise<Page> {
  const selected = selection(served, namespace, query);
  const limit = parseLimit(query.get('limit'));
  const continued = query.get('continue') ?? '';
  const resourceVersion = query.get('resourceVersion');
  const match = query.get('resourceVersionMatch');
  checkVersionMatch({ match, resourceVersion, continued });
  if (continued !== '') {
    return continueList(core, served, { selected, limit, token: decodeToken(continued) });
  }
  // An older rule: a version with a limit and nothing else means exactly that version.
  const exactly = (match ?? '') === '' && limit > 0 && (resourceVersion ?? '0') !== '0' && resourceVersion !== '';
  if (match === 'Exact' || exactly) {
    return listAtRevision(core, served, { selected, limit, revision: parseRevision(resourceVersion ?? '') });
  }
  await freshEnough(core, resourceVersion);
  return pageFromCache(core, served, { selected, limit, start: '', revision: core.store.revision });
}

/** Waits until the cache may answer: unset asks etcd for its revision, 0 takes what is there, N waits for it. */
export async function freshEnough(core: Core, resourceVersion: string | null): Promise<void> {
  if (resourceVersion === null || resourceVersion === '') {
    await core.store.consistent();
  } else {
    await core.store.waitFor(parseRevision(resourceVersion));
  }
}

export function parseRevision(text: string): number {
  if (!/^\d{1,16}$/.test(text)) {
    throw badRequest(`resourceVersion: Invalid value: ${JSON.stringify(text)}: must be a whole number`);
  }
  return Number(text);
}

interface Paging {
  readonly selected: Selection;
  readonly limit: number;
}

function pageFromCache(core: Core, served: Served, paging: Paging & { start: string; revision: number }): Page {
  const { selected, limit, start, revision } = paging;
  const cache = core.store.cache(served.storedAs);
  if (selected.name !== undefined && (selected.namespace !== '' || !served.definition.namespaced)) {
    const entry = cache.get(selected.namespace, selected.name);
    const entries = entry !== undefined && selected.matches(entry) ? [entry] : [];
    return { entries, metadata: { resourceVersion: String(revision) } };
  }
  let all = cache.list(selected.namespace);
  if (start !== '') {
    const from = resourcePrefix(served.storedAs) + start;
    all = all.filter((entry) => entry.key >= from);
  }
  if (limit === 0) {
    const entries = selected.everything ? all : all.filter((entry) => selected.matches(entry));
    return { entries, metadata: { resourceVersion: String(revision) } };
  }
  const entries: Entry[] = [];
  let at = 0;
  for (; at < all.length && entries.length < limit; at += 1) {
    const entry = all[at] as Entry;
    if (selected.matches(entry)) {
      entries.push(entry);
    }
  }
  const next = all[at];
  if (next === undefined) {
    return { entries, metadata: { resourceVersion: String(revision) } };
  }
  return {
    entries,
    metadata: pageMetadata(served, { revision, next: next.key, remaining: all.length - at, selected }),
  };
}

async function continueList(core: Core, served: Served, paging: Paging & { token: ContinueToken }): Promise<Page> {
  const { token } = paging;
  await core.store.waitFor(token.rv);
  if (core.store.cache(served.storedAs).lastChange <= token.rv) {
    return pageFromCache(core, served, { ...paging, start: token.start, revision: token.rv });
  }
  return pageFromEtcd(core, served, { ...paging, revision: token.rv, start: token.start });
}

async function listAtRevision(core: Core, served: Served, paging: Paging & { revision: number }): Promise<Page> {
  await core.store.waitFor(paging.revision);
  if (core.store.cache(served.storedAs).lastChange <= paging.revision) {
    return pageFromCache(core, served, { ...paging, start: '' });
  }
  return pageFromEtcd(core, served, { ...paging, start: '' });
}

async function pageFromEtcd(
  core: Core,
  served: Served,
  paging: Paging & { revision: number; start: string },
): Promise<Page> {
  const { selected, limit, revision } = paging;
  const prefix = resourcePrefix(served.storedAs);
  const entries: Entry[] = [];
  let start = paging.start === '' ? '' : prefix + paging.start;
  try {
    for (;;) {
      const batch = await core.store.listAt(served.storedAs, {
        namespace: selected.namespace,
        revision,
        start,
        limit: limit === 0 ? 0 : limit + 1,
      });
      for (const [at, entry] of batch.entries.entries()) {
        if (limit > 0 && entries.length === limit) {
          const remaining = batch.remaining + batch.entries.length - at;
          return { entries, metadata: pageMetadata(served, { revision, next: entry.key, remaining, selected }) };
        }
        if (selected.matches(entry)) {
          entries.push(entry);
        }
      }
      const last = batch.entries.at(-1);
      if (!batch.more || last === undefined) {
        return { entries, metadata: { resourceVersion: String(revision) } };
      }
      start = `${last.key}\0`;
    }
  } catch (error) {
    throw error instanceof CompactedError ? expiredList(core, paging) : error;
  }
}

/** 410 with a token for those who would rather go on with the present state than start over. */
function expiredList(core: Core, paging: { start: string; revision: number }): StatusError {
  if (paging.start === '') {
    return expired(`The resourceVersion for the provided list is too old.`);
  }
  const error = expired(
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
  );
  const token = encodeToken({ rv: core.store.revision, start: paging.start });
  return Object.assign(error, { status: { ...error.status, metadata: { continue: token } } });
}

function pageMetadata(
  served: Served,
  page: { revision: number; next: string; remaining: number; selected: Selection },
): ListMetadata {
  return {
    resourceVersion: String(page.revision),
    continue: encodeToken({ rv: page.revision, start: page.next.slice(resourcePrefix(served.storedAs).length) }),
    // Unknown when a selector may drop some of the rest.
    ...(page.selected.everything ? { remainingItemCount: page.remaining } : {}),
  };
}

export function encodeToken(token: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', ...token })).toString('base64url');
}

export function decodeToken(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as Partial<ContinueToken> & { v?: string };
    if (token.v === 'meta.k8s.io/v1' && typeof token.rv === 'number' && typeof token.start === 'string') {
      return { rv: token.rv, start: token.start };
    }
  } catch {
    // Falls through to the same refusal.
  }
  throw badRequest('continue key is not valid: it is not a token of this server; start the list again without it');
}

function parseLimit(text: string | null): number {
  if (text === null || text === '') {
    return 0;
  }
  if (!/^\d{1,15}$/.test(text)) {
    throw badRequest(`limit: Invalid value: ${JSON.stringify(text)}: must be a whole number`);
  }
  return Number(text);
}

function checkVersionMatch(given: { match: string | null; resourceVersion: string | null; continued: string }): void {
  const { match, continued } = given;
  const version = given.resourceVersion ?? '';
  if (continued !== '') {
    if (version !== '' && version !== '0') {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    if (match !== null && match !== '') {
      throw badRequest('resourceVersionMatch is forbidden when continue is provided');
    }
    return;
  }
  if (match === null || match === '') {
    return;
  }
  if (match !== 'Exact' && match !== 'NotOlderThan') {
    throw badRequest(
      `resourceVersionMatch: Unsupported value: "${match}": supported values: "Exact", "NotOlderThan", ""`,
    );
  }
  if (version === '') {
    throw badRequest('resourceVersionMatch is forbidden unless resourceVersion is provided');
  }
  if (match === 'Exact' && version === '0') {
    throw badRequest('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
}

// SPDX-License-Identifier: Apache-2.0
/** Finds our own record in a results directory or in a Sonobuoy tarball that we wrote. */
import { messageOf, Problem } from '../problem.ts';
import { decodeEvents, type DecodedEvents } from './decode.ts';
import type { ResultSource } from './result-source.ts';
import { foldEvents, type RunRecord } from './run-record.ts';

export interface OwnRecord extends DecodedEvents {
  readonly record: RunRecord;
  /** Evidence and snapshot under the names that the events use. */
  readonly files: { list(): readonly string[]; read(path: string): Uint8Array | undefined };
}

/** Undefined if the source holds no record of ours. Throws a Problem if it holds one that cannot be read. */
export function ownRecord(source: ResultSource): OwnRecord | undefined {
  const eventsPath = source
    .list()
    .find(
      (path) => path === 'events.jsonl' || /^plugins\/[^/]+\/results\/global\/plumbline\/events\.jsonl$/.test(path),
    );
  if (eventsPath === undefined) return undefined;
  const content = source.read(eventsPath) ?? new Uint8Array();
  let decoded: DecodedEvents;
  try {
    decoded = decodeEvents(new TextDecoder().decode(content));
  } catch (error) {
    throw new Problem(
      `${source.path}: ${eventsPath} is unreadable: ${messageOf(error)}`,
      'Choose the results of another run.',
      { cause: error },
    );
  }
  const folder = eventsPath.slice(0, -'events.jsonl'.length);
  return {
    ...decoded,
    record: foldEvents(decoded.events),
    files: folder === '' ? source : insideTarball(source, folder),
  };
}

/** In a tarball the evidence lies beside the events, the snapshot at the top. */
function insideTarball(source: ResultSource, folder: string): OwnRecord['files'] {
  const snapshot = /^(resources|podlogs|hosts)\/|^server(groups|version)\.json$/;
  const names = new Map<string, string>();
  for (const path of source.list()) {
    if (path.startsWith(`${folder}evidence/`)) names.set(path.slice(folder.length), path);
    else if (snapshot.test(path)) names.set(`snapshot/${path}`, path);
  }
  const list = [...names.keys()].toSorted();
  return {
    list: () => list,
    read: (path) => {
      const name = names.get(path);
      return name === undefined ? undefined : source.read(name);
    },
  };
}

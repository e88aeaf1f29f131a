// SPDX-License-Identifier: Apache-2.0
/**
 * Takes a snapshot of the cluster at the end of a run, in the layout of the Sonobuoy tarball, below `snapshot/` of the results directory. Section
 * by section: one that fails is recorded with its error and stops no other, and neither does one object within a section.
 */
import { join } from 'node:path';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { readableMessage } from '../execute/failure.ts';
import type { Recorder } from '../results/recorder.ts';
import { writeFileSafely } from '../results/write-file.ts';
import { collectHosts } from './hosts.ts';
import { collectPodLogs } from './pod-logs.ts';
import { collectResources } from './resources.ts';

export interface SnapshotInput {
  readonly kube: KubeClients;
  readonly recorder: Recorder;
  /** The run's own namespace, whose pods' logs are taken besides those of kube-system. */
  readonly namespace: string;
  readonly now: () => Date;
}

/** What a section may do: read the cluster, write below `snapshot/`, and record a trouble without ending. */
export interface Section {
  readonly kube: KubeClients;
  readonly signal: AbortSignal;
  write(path: string, content: string | Uint8Array): void;
  /** Notes one thing that could not be had; the section goes on. */
  miss(what: string, error: unknown): void;
}

const sectionMs = 60_000;
const missesShown = 20;

export async function takeSnapshot({ kube, recorder, namespace }: SnapshotInput): Promise<void> {
  const sections: Readonly<Record<string, (section: Section) => Promise<void>>> = {
    serverversion: (section) => copyDocument(section, '/version', 'serverversion.json'),
    servergroups: (section) => copyDocument(section, '/apis', 'servergroups.json'),
    resources: collectResources,
    podlogs: (section) => collectPodLogs(section, ['kube-system', namespace]),
    hosts: collectHosts,
  };
  for (const [name, body] of Object.entries(sections)) {
    const start = performance.now();
    let files = 0;
    const misses: string[] = [];
    const section: Section = {
      kube,
      signal: AbortSignal.timeout(sectionMs),
      write(path, content) {
        writeFileSafely(join(recorder.directory, 'snapshot', path), content);
        files++;
      },
      miss: (what, error) => void misses.push(`${what}: ${readableMessage(error)}`),
    };
    try {
      await body(section);
    } catch (error) {
      section.miss('ended early', error);
    }
    const shown =
      misses.length <= missesShown
        ? misses
        : [...misses.slice(0, missesShown), `and ${misses.length - missesShown} more`];
    recorder.record({
      type: 'snapshot-section',
      name,
      files,
      durationMs: Math.round(performance.now() - start),
      ...(misses.length === 0 ? {} : { error: shown.join('; ') }),
    });
  }
}

async function copyDocument(section: Section, path: string, file: string): Promise<void> {
  const response = await section.kube.request({ path, signal: section.signal });
  if (response.status !== 200) throw new Error(`${path} answered ${response.status}`);
  section.write(file, response.body);
}

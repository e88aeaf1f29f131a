// SPDX-License-Identifier: Apache-2.0
/**
 * The Sonobuoy tarball: `YYYYMMDDHHMM_sonobuoy_<uuid>.tar.gz`, laid out so that upstream's `sonobuoy results` and the scripts that people have written around
 * Sonobuoy read it. Our own record and the evidence travel inside, under the plugin's results. The same record gives the same bytes.
 */
import { stringify } from 'yaml';
import type { ReportInput } from '../report.ts';
import { junitXml } from '../junit/junit.ts';
import { clusterHealth } from './cluster-health.ts';
import { e2eLog } from './e2e-log.ts';
import { junitPath, pluginName, resultTree } from './items.ts';

export interface TarballEntry {
  /** Slash-separated, without a leading `/` or `./`. */
  readonly path: string;
  readonly content: () => Uint8Array;
}

/** The layout version that readers go by; Sonobuoy has not changed it since. */
const layoutVersion = 'v0.57.5';

export const recordFolder = `plugins/${pluginName}/results/global/plumbline`;

export function tarballName({ record }: ReportInput): string {
  const time = (record.run?.time ?? '1970-01-01T00:00:00.000Z').replaceAll(/[^0-9]/g, '').slice(0, 12);
  return `${time}_sonobuoy_${record.run?.uuid ?? 'unknown'}.tar.gz`;
}

/** Entries in the order in which they are written: meta first, so that a reader finds what it needs early. */
export function tarballEntries(input: ReportInput): TarballEntry[] {
  const { record, events, files } = input;
  const text = (path: string, content: () => string): TarballEntry => ({
    path,
    content: () => new TextEncoder().encode(content()),
  });
  const json = (path: string, content: () => unknown): TarballEntry => text(path, () => JSON.stringify(content()));
  const plugin = (path: string): string => `plugins/${pluginName}/${path}`;
  return [
    json('meta/config.json', () => config(input)),
    json('meta/info.json', () => ({ plugins: [pluginName] })),
    json('meta/query-time.json', () =>
      record.snapshot.map((section) => ({
        queryobj: section.name,
        time: `${section.durationMs}ms`,
        ...(section.error === undefined ? {} : { error: {} }),
      })),
    ),
    text('meta/run.log', () => runLog(input)),
    json('meta/clusterhealth.json', () => clusterHealth(files, record.cluster?.serverVersion ?? '')),
    json(plugin('definition.json'), () => definition(input)),
    text(plugin('sonobuoy_results.yaml'), () =>
      stringify(resultTree(record, files), { lineWidth: 0, aliasDuplicateObjects: false, version: '1.1' }),
    ),
    text(plugin('results/global/e2e.log'), () => e2eLog(input)),
    text(plugin(junitPath), () => junitXml(input)),
    text(`${recordFolder}/events.jsonl`, () => events.map((event) => `${JSON.stringify(event)}\n`).join('')),
    ...files
      .list()
      .filter((path) => path.startsWith('evidence/'))
      .map((path) => ({ path: `${recordFolder}/${path}`, content: () => files.read(path) ?? new Uint8Array() })),
    ...files
      .list()
      .filter((path) => path.startsWith('snapshot/'))
      .map((path) => ({ path: path.slice('snapshot/'.length), content: () => files.read(path) ?? new Uint8Array() })),
  ];
}

function config({ record }: ReportInput): object {
  return {
    Description: `Plumbline ${record.run?.toolVersion ?? ''}, run ${record.run?.runId ?? ''}, mode ${record.run?.mode ?? ''}`,
    UUID: record.run?.uuid ?? '',
    Version: layoutVersion,
    ResultsDir: '/tmp/sonobuoy',
    Resources: null,
    Filters: { Namespaces: '.*', LabelSelector: '' },
    Limits: {
      PodLogs: {
        Namespaces: 'kube-system',
        SonobuoyNamespace: true,
        FieldSelectors: [],
        LabelSelector: '',
        Previous: true,
        SinceSeconds: null,
        SinceTime: null,
        Timestamps: false,
        TailLines: null,
        LimitBytes: null,
      },
    },
    QPS: 30,
    Burst: 50,
    Server: { bindaddress: '', bindport: 0, advertiseaddress: '', timeoutseconds: 0 },
    Plugins: [{ name: pluginName }],
    PluginSearchPath: [],
    Namespace: 'plumbline',
    WorkerImage: record.run?.image ?? '',
    ImagePullPolicy: 'IfNotPresent',
    ImagePullSecrets: '',
    ProgressUpdatesPort: '0',
    SecurityContextMode: 'nonroot',
  };
}

function definition({ record }: ReportInput): object {
  return {
    Definition: {
      'sonobuoy-config': {
        driver: 'Job',
        'plugin-name': pluginName,
        'result-format': 'junit',
        description:
          'Cases of Plumbline, carried out from outside through the Kubernetes API; not the upstream e2e suite.',
        'source-url': '',
      },
      spec: {
        name: pluginName,
        image: record.run?.image ?? '',
        env: [
          { name: 'PLUMB_MODE', value: record.run?.mode ?? '' },
          { name: 'E2E_FOCUS', value: record.run?.focus ?? '' },
          { name: 'E2E_SKIP', value: record.run?.skip ?? '' },
        ],
      },
    },
    SessionID: record.run?.runId ?? '',
    Namespace: 'plumbline',
    SonobuoyImage: record.run?.image ?? '',
    CleanedUp: record.cleanup !== undefined && record.cleanup.left.length === 0,
    ImagePullPolicy: 'IfNotPresent',
    ImagePullSecrets: '',
    CustomAnnotations: null,
  };
}

/** JSON lines, one per thing that happened to the run as a whole. */
function runLog({ record, events }: ReportInput): string {
  const lines = events.flatMap((event) => {
    switch (event.type) {
      case 'preflight-checked':
        return [
          line(
            event.time,
            event.status === 'ok' ? 'info' : event.status === 'warning' ? 'warning' : 'error',
            `preflight ${event.name}: ${event.message}`,
          ),
        ];
      case 'message-logged':
        return [line(event.time, event.level, event.message)];
      case 'cluster-disturbed':
        return [line(event.time, 'warning', event.message)];
      case 'case-retried':
        return [line(event.time, 'warning', `${event.caseId} is tried again: ${event.reason}`)];
      case 'snapshot-section':
        return [
          line(
            event.time,
            event.error === undefined ? 'info' : 'error',
            `snapshot ${event.name}: ${event.error ?? `${event.files} files`}`,
          ),
        ];
      case 'cleaned-up':
        return [
          line(
            event.time,
            event.left.length === 0 ? 'info' : 'error',
            `deleted ${event.deleted} objects, left ${event.left.length}`,
          ),
        ];
      default:
        return [];
    }
  });
  return [line(record.run?.time ?? '', 'info', `run ${record.run?.runId ?? ''} started`), ...lines, ''].join('\n');
}

function line(time: string, level: string, msg: string): string {
  return JSON.stringify({ level, msg, time });
}

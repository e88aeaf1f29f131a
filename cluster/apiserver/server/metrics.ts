// SPDX-License-Identifier: Apache-2.0
// The server's own metrics under upstream's names, so that existing dashboards and the etcd suite read them.
import { MetricsRegistry } from '../../machinery/metrics.ts';
import type { Labels } from '../../machinery/metrics.ts';
import type { EtcdObservation } from '../store/etcd-client.ts';
import type { Exchange } from './exchange.ts';
import type { RequestInfo } from './request-info.ts';
import { isCollection } from './request-info.ts';

const requestBounds = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];
const etcdBounds = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10,
];

export interface ApiMetrics {
  readonly registry: MetricsRegistry;
  /** Counts a request; the returned function is called when it has been answered. */
  begin(exchange: Exchange, info: RequestInfo): () => void;
  observeEtcd(request: EtcdObservation): void;
  /** Sets the number of stored objects of a resource. */
  countObjects(resource: string, count: number): void;
}

export function createMetrics(version: string): ApiMetrics {
  const registry = new MetricsRegistry();
  const requests = registry.counter(
    'apiserver_request_total',
    'Requests by verb, group, version, resource, scope and response code.',
  );
  const durations = registry.histogram(
    'apiserver_request_duration_seconds',
    'Response latency by verb, group, version, resource and scope.',
    requestBounds,
  );
  const inFlight = registry.gauge('apiserver_current_inflight_requests', 'Requests being served, by kind.');
  const watchers = registry.gauge('apiserver_longrunning_requests', 'Long-running requests by verb.');
  const etcd = registry.histogram(
    'etcd_request_duration_seconds',
    'Latency of etcd requests by operation.',
    etcdBounds,
  );
  registry.gauge('kubernetes_build_info', 'Version that the server reports.').set(1, { git_version: version });
  const objects = registry.gauge('apiserver_storage_objects', 'Stored objects by resource.');
  const flying = { mutating: 0, readOnly: 0, WATCH: 0 };
  const flyingLabels = {
    mutating: { request_kind: 'mutating' },
    readOnly: { request_kind: 'readOnly' },
    WATCH: { verb: 'WATCH' },
  };
  const shared = new SharedLabels();
  return {
    registry,
    begin(exchange, info) {
      const verb = info.verb.toUpperCase();
      const kind = verb === 'WATCH' ? 'WATCH' : ['GET', 'LIST'].includes(verb) ? 'readOnly' : 'mutating';
      const show = () => (kind === 'WATCH' ? watchers : inFlight).set(flying[kind], flyingLabels[kind]);
      flying[kind] += 1;
      show();
      const labels = shared.get(labelsOf(info, verb));
      if (kind === 'WATCH') {
        exchange.onClose(() => {
          flying.WATCH -= 1;
          show();
        });
      }
      return () => {
        requests.add(1, shared.get({ ...labels, code: String(exchange.status) }));
        if (kind !== 'WATCH') {
          flying[kind] -= 1;
          show();
          durations.observe((performance.now() - exchange.started) / 1000, labels);
        }
      };
    },
    observeEtcd: ({ operation, type, seconds }) => etcd.observe(seconds, shared.get({ operation, type })),
    countObjects: (resource, count) => objects.set(count, { resource }),
  };
}

/** One object per label set: the registry renders the labels of an object that it knows only once. */
class SharedLabels {
  readonly #known = new Map<string, Labels>();

  get(labels: Labels): Labels {
    const key = Object.values(labels).join('\0');
    const known = this.#known.get(key);
    if (known !== undefined) {
      return known;
    }
    this.#known.set(key, labels);
    return labels;
  }
}

function labelsOf(info: RequestInfo, verb: string): Record<string, string> {
  if (info.kind === 'path') {
    return { verb, group: '', version: '', resource: '', subresource: info.path.split('/')[1] ?? '', scope: '' };
  }
  const { group, version, resource, subresource, namespace } = info;
  const scope = isCollection(info) ? (namespace === '' ? 'cluster' : 'namespace') : 'resource';
  return { verb, group, version, resource, subresource, scope };
}

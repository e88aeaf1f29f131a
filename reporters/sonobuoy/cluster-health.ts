// SPDX-License-Identifier: Apache-2.0
/** `meta/clusterhealth.json`, from which `sonobuoy results` prints "Run Details". The totals of pods are called `total_nodes` there, too. */
import type { ResultFiles } from '../report.ts';

interface Condition {
  readonly type?: string;
  readonly status?: string;
  readonly reason?: string;
  readonly message?: string;
}

interface ListedObject {
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly status?: { readonly phase?: string; readonly conditions?: readonly Condition[] };
}

interface Health {
  readonly name: string;
  readonly healthy: boolean;
  readonly ready: string;
  readonly reason?: string;
  readonly message?: string;
  readonly namespace?: string;
}

export function clusterHealth(files: ResultFiles, serverVersion: string): object {
  const nodes = listOf(files, 'snapshot/resources/cluster/core_v1_nodes.json').map(nodeHealth);
  const pods = files
    .list()
    .filter((path) => /^snapshot\/resources\/ns\/[^/]+\/core_v1_pods\.json$/.test(path))
    .flatMap((path) => listOf(files, path))
    .map(podHealth);
  return {
    node_health: summary(nodes),
    pod_health: summary(pods),
    api_version: serverVersion,
    error_summary: logSummary(files),
  };
}

function summary(details: readonly Health[]): object {
  return { total_nodes: details.length, healthy_nodes: details.filter((one) => one.healthy).length, details };
}

function nodeHealth(node: ListedObject): Health {
  const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
  return {
    name: node.metadata?.name ?? '',
    healthy: ready?.status === 'True',
    ready: ready?.status ?? '',
    ...reasons(ready),
  };
}

function podHealth(pod: ListedObject): Health {
  const healthy = pod.status?.phase === 'Running' || pod.status?.phase === 'Succeeded';
  const trouble = healthy ? undefined : pod.status?.conditions?.find((condition) => condition.status !== 'True');
  return {
    name: pod.metadata?.name ?? '',
    healthy,
    ready: healthy ? 'Ready' : (trouble?.status ?? ''),
    ...reasons(trouble),
    namespace: pod.metadata?.namespace ?? '',
  };
}

function reasons(condition: Condition | undefined): { reason?: string; message?: string } {
  return {
    ...(condition?.reason === undefined ? {} : { reason: condition.reason }),
    ...(condition?.message === undefined ? {} : { message: condition.message }),
  };
}

function listOf(files: ResultFiles, path: string): readonly ListedObject[] {
  const content = files.read(path);
  if (content === undefined) return [];
  try {
    const list = JSON.parse(new TextDecoder().decode(content)) as { items?: unknown };
    return Array.isArray(list.items) ? (list.items as ListedObject[]) : [];
  } catch {
    return [];
  }
}

const logPatterns: Readonly<Record<string, RegExp>> = {
  Errors: /[fF]ailed|[eE]rror|^E[0-9]+|level=error/,
  Warnings: /[wW]arn|^W[0-9]+|level=warn/,
};

/** Lines per log file that look like trouble, by kind: `{ Errors: { 'podlogs/...': 3 } }`. */
function logSummary(files: ResultFiles): Record<string, Record<string, number>> {
  const result: Record<string, Record<string, number>> = {};
  for (const path of files.list()) {
    if (!path.startsWith('snapshot/podlogs/')) continue;
    const lines = new TextDecoder().decode(files.read(path)).split('\n');
    for (const [kind, pattern] of Object.entries(logPatterns)) {
      const hits = lines.filter((line) => pattern.test(line)).length;
      if (hits > 0) (result[kind] ??= {})[path.slice('snapshot/'.length)] = hits;
    }
  }
  return result;
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Watches over the cluster while cases run: whether the API answers and whether nodes stay Ready. It records each disturbance with its
 * duration, and lets cases wait for the API to come back.
 */
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import type { Recorder } from '../results/recorder.ts';
import { pause } from '../target/pause.ts';

const probeIntervalMs = 2_000;
const probeTimeoutMs = 5_000;
/** Nodes are listed at every so many probes of the API. */
const nodesEvery = 3;
const nodesListedMax = 500;

interface Outage {
  readonly from: number;
  to: number | undefined;
  readonly message: string;
}

export interface ClusterMonitor {
  /** Waits until the API answers, at most `apiWaitMs`; then says how it was away since `since` (a performance.now()), or undefined. */
  disturbanceSince(since: number): Promise<string | undefined>;
  /** True once the API was away for longer than `apiWaitMs`: what follows is pointless. */
  readonly lost: boolean;
  stop(): Promise<void>;
}

export interface MonitorOptions {
  readonly kube: KubeClients;
  readonly recorder: Recorder;
  /** How long to wait for an API server that went away. */
  readonly apiWaitMs: number;
  /** Called when the API has been away for longer than that. */
  readonly onLost: () => void;
}

export function startMonitor(options: MonitorOptions): ClusterMonitor {
  const { kube, recorder } = options;
  const ended = new AbortController();
  const outages: Outage[] = [];
  const unready = new Map<string, number>();
  let lost = false;

  /** Probes once and keeps the book of outages. */
  const probe = async (): Promise<boolean> => {
    const trouble = await apiTrouble(kube, ended.signal);
    if (ended.signal.aborted) return true;
    const open = outages.find((outage) => outage.to === undefined);
    if (trouble === undefined && open !== undefined) {
      open.to = performance.now();
      const durationMs = Math.round(open.to - open.from);
      const message = `the API server answers again after ${Math.round(durationMs / 1000)} s`;
      recorder.record({
        type: 'cluster-disturbed',
        what: 'api-unreachable',
        subject: 'API server',
        message,
        durationMs,
      });
    }
    if (trouble !== undefined && open === undefined) {
      outages.push({ from: performance.now(), to: undefined, message: trouble });
      const message = `the API server does not answer (${trouble}); waiting up to ${Math.round(options.apiWaitMs / 1000)} s`;
      recorder.record({ type: 'cluster-disturbed', what: 'api-unreachable', subject: 'API server', message });
    }
    if (trouble !== undefined && open !== undefined && !lost && performance.now() - open.from > options.apiWaitMs) {
      lost = true;
      options.onLost();
    }
    return trouble === undefined;
  };

  const loop = (async () => {
    for (let round = 0; !ended.signal.aborted; round++) {
      const answers = await probe();
      if (answers && round % nodesEvery === 0) await observeNodes({ kube, recorder, unready, signal: ended.signal });
      await pause(probeIntervalMs, ended.signal);
    }
  })();

  return {
    get lost() {
      return lost;
    },
    async disturbanceSince(since) {
      while (!ended.signal.aborted && !lost && !(await probe())) await pause(500, ended.signal);
      const hit = outages.find((outage) => outage.to === undefined || outage.to >= since);
      return hit === undefined ? undefined : `the API server was away meanwhile (${hit.message})`;
    },
    async stop() {
      ended.abort();
      await loop;
    },
  };
}

/** Undefined if the API answers; anything but a server error is an answer. */
async function apiTrouble(kube: KubeClients, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await kube.request({ path: '/version', timeoutMs: probeTimeoutMs, signal });
    return response.status >= 500 ? `/version answered ${response.status}` : undefined;
  } catch (error) {
    return messageOf(error);
  }
}

interface NodeObservation {
  readonly kube: KubeClients;
  readonly recorder: Recorder;
  /** Nodes seen not Ready, with the time since when. */
  readonly unready: Map<string, number>;
  readonly signal: AbortSignal;
}

async function observeNodes({ kube, recorder, unready, signal }: NodeObservation): Promise<void> {
  let items: {
    metadata: { name: string };
    status?: { conditions?: { type: string; status: string; message?: string }[] };
  }[];
  try {
    const response = await kube.request({
      path: `/api/v1/nodes?limit=${nodesListedMax}&resourceVersion=0`,
      timeoutMs: probeTimeoutMs,
      signal,
    });
    if (response.status !== 200) return;
    ({ items } = response.json() as { items: typeof items });
  } catch {
    return;
  }
  for (const node of items) {
    const { name } = node.metadata;
    const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
    const since = unready.get(name);
    if (ready?.status === 'True' && since !== undefined) {
      unready.delete(name);
      const durationMs = Math.round(performance.now() - since);
      const message = `node ${name} is Ready again`;
      recorder.record({ type: 'cluster-disturbed', what: 'node-not-ready', subject: name, message, durationMs });
    } else if (ready?.status !== 'True' && since === undefined) {
      unready.set(name, performance.now());
      const message = `node ${name} is not Ready: ${ready?.message ?? 'it has no such condition'}`;
      recorder.record({ type: 'cluster-disturbed', what: 'node-not-ready', subject: name, message });
    }
  }
}

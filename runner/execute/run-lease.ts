// SPDX-License-Identifier: Apache-2.0
/** Tells runs that go on from runs that were killed: a Lease in the run's own namespace, renewed while the process lives. */
import { V1MicroTime } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { pause } from '../target/pause.ts';
import { runIdLabel, runLabels } from './run-labels.ts';

export const leaseName = 'plumb-run';
const runDurationS = 60;

export interface RunLease {
  stop(): Promise<void>;
}

/** Resolves to the answer of the API server, whatever it is. */
export function renewLease(
  kube: KubeClients,
  namespace: string,
  signal?: AbortSignal,
): ReturnType<KubeClients['request']> {
  return kube.request({
    method: 'PATCH',
    path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${leaseName}`,
    headers: { 'Content-Type': 'application/merge-patch+json' },
    body: { spec: { renewTime: new V1MicroTime() } },
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Renewed four times within its duration. */
export async function holdLease(
  kube: KubeClients,
  runId: string,
  { namespace, durationS = runDurationS }: { readonly namespace: string; readonly durationS?: number },
): Promise<RunLease> {
  const spec = () => ({
    holderIdentity: `plumb ${runId}`,
    leaseDurationSeconds: durationS,
    renewTime: new V1MicroTime(),
  });
  const metadata = { name: leaseName, labels: runLabels(runId) };
  await kube.coordination.createNamespacedLease({ namespace, body: { metadata, spec: spec() } });
  const ended = new AbortController();
  const renew = async (): Promise<void> => {
    try {
      await renewLease(kube, namespace, ended.signal);
    } catch {
      // A renewal that fails is made good by the next one; the Lease lasts for four.
    }
  };
  const renewal = (async () => {
    for (;;) {
      await pause((durationS * 1000) / 4, ended.signal);
      if (ended.signal.aborted) return;
      // Not waited for: one that gets no answer must not keep the next one from being sent.
      void renew();
    }
  })();
  return {
    async stop() {
      ended.abort();
      await renewal;
    },
  };
}

/** Ids of the runs whose Lease has not run out, by this machine's clock. */
export async function liveRuns(kube: KubeClients): Promise<Set<string>> {
  const response = await kube.request({
    path: `/apis/coordination.k8s.io/v1/leases?labelSelector=${encodeURIComponent(runIdLabel)}`,
  });
  if (response.status !== 200) return new Set();
  const { items } = response.json() as {
    items: {
      metadata: { labels?: Record<string, string> };
      spec?: { renewTime?: string; leaseDurationSeconds?: number };
    }[];
  };
  const now = Date.now();
  return new Set(
    items
      .filter(({ spec }) => Date.parse(spec?.renewTime ?? '') + (spec?.leaseDurationSeconds ?? 0) * 1000 > now)
      .map(({ metadata }) => metadata.labels?.[runIdLabel] ?? '')
      .filter((runId) => runId !== ''),
  );
}

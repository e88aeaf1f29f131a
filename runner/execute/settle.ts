// SPDX-License-Identifier: Apache-2.0
/** Waits, for a while, until the namespaces of cases that have ended are gone, so that a serial case finds the cluster to itself. */
import type { KubeClients } from '../../suites/kube-clients.ts';
import { pause } from '../target/pause.ts';
import { runIdLabel } from './run-labels.ts';

const settleMs = 45_000;

export async function settle(kube: KubeClients, runId: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + settleMs;
  const path = `/api/v1/namespaces?labelSelector=${encodeURIComponent(`${runIdLabel}=${runId}`)}`;
  while (performance.now() < deadline && !signal.aborted) {
    try {
      const response = await kube.request({ path, signal, timeoutMs: 5_000 });
      const { items } = response.json() as { items: { metadata: { deletionTimestamp?: string } }[] };
      if (!items.some((item) => item.metadata.deletionTimestamp !== undefined)) return;
    } catch {
      // The monitor reports an API that is away; here it only means: not yet.
    }
    await pause(250, signal);
  }
}

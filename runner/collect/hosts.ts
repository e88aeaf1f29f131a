// SPDX-License-Identifier: Apache-2.0
/** What each kubelet says of itself through the API server's node proxy: `hosts/<node>/configz.json` and `healthz.json`. */
import type { Section } from './snapshot.ts';

const nodeMs = 10_000;

export async function collectHosts(section: Section): Promise<void> {
  const { items } = await section.kube.core.listNode();
  await Promise.all(
    items.map(async (node) => {
      const name = node.metadata?.name ?? '';
      const proxy = `/api/v1/nodes/${name}/proxy`;
      try {
        const health = await section.kube.request({
          path: `${proxy}/healthz`,
          signal: section.signal,
          timeoutMs: nodeMs,
        });
        section.write(`hosts/${name}/healthz.json`, JSON.stringify({ status: health.status }));
        const configz = await section.kube.request({
          path: `${proxy}/configz`,
          signal: section.signal,
          timeoutMs: nodeMs,
        });
        if (configz.status !== 200) throw new Error(`configz answered ${configz.status}`);
        section.write(`hosts/${name}/configz.json`, configz.body);
      } catch (error) {
        section.miss(`node ${name}`, error);
      }
    }),
  );
}

// SPDX-License-Identifier: Apache-2.0
// Static pods: manifests in a folder, watched and rescanned, turned into pods that carry the annotations and the stable uid of their content.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Pod, PodSpec } from '../../machinery/api-types.ts';
import { logger } from '../../machinery/log.ts';
import { configHashAnnotation, configSeenAnnotation, configSourceAnnotation } from './pod-facts.ts';

const log = logger('static-pods');

/** Calls `onPods` with all static pods, at once and after each change, until `signal` aborts. */
export function watchStaticPods(
  folder: string,
  options: { nodeName: string; rescanMs: number; signal: AbortSignal },
  onPods: (pods: Pod[]) => void,
): void {
  let last = '';
  const scan = (): void => {
    const pods = readStaticPods(folder, options.nodeName);
    const state = JSON.stringify(pods.map((pod) => pod.metadata.uid));
    if (state === last) return;
    last = state;
    onPods(pods);
  };
  scan();
  let settle: NodeJS.Timeout | undefined;
  const watcher = existsSync(folder)
    ? watch(folder, () => {
        // Editors write in several steps.
        clearTimeout(settle);
        settle = setTimeout(scan, 50);
      })
    : undefined;
  const timer = setInterval(scan, options.rescanMs);
  options.signal.addEventListener('abort', () => {
    watcher?.close();
    clearInterval(timer);
    clearTimeout(settle);
  });
}

/** Files that hold no pod are reported and passed over. */
export function readStaticPods(folder: string, nodeName: string): Pod[] {
  if (!existsSync(folder)) return [];
  const pods: Pod[] = [];
  for (const name of readdirSync(folder).toSorted()) {
    const path = join(folder, name);
    if (name.startsWith('.') || !statSync(path).isFile()) continue;
    try {
      pods.push(staticPod(parse(readFileSync(path, 'utf8')), { nodeName, path }));
    } catch (error) {
      log.error('cannot use static pod manifest', error, { path });
    }
  }
  return pods;
}

/** Errors: not a Pod, no name, no containers. */
export function staticPod(document: unknown, origin: { nodeName: string; path: string }): Pod {
  const pod = document as Partial<Pod> | null;
  if (typeof pod !== 'object' || pod?.kind !== 'Pod' || !pod.metadata?.name || !pod.spec?.containers?.length) {
    throw new Error('the file holds no Pod with a name and containers');
  }
  const hash = createHash('md5')
    .update(JSON.stringify([origin.nodeName, origin.path, document]))
    .digest('hex');
  const uid = pod.metadata.uid ?? hash;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...pod.metadata,
      name: `${pod.metadata.name}-${origin.nodeName.toLowerCase()}`,
      namespace: pod.metadata.namespace ?? 'default',
      uid,
      annotations: {
        ...pod.metadata.annotations,
        [configHashAnnotation]: hash,
        [configSourceAnnotation]: 'file',
        [configSeenAnnotation]: new Date().toISOString(),
      },
    },
    spec: withDefaults(pod.spec, origin.nodeName),
  };
}

/** What the API server would have filled in, as far as the kubelet and a mirror pod need it. */
function withDefaults(spec: PodSpec, nodeName: string): PodSpec {
  return {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    schedulerName: 'default-scheduler',
    securityContext: {},
    enableServiceLinks: true,
    ...spec,
    nodeName,
    automountServiceAccountToken: false,
    tolerations: [...(spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
  };
}

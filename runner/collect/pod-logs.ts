// SPDX-License-Identifier: Apache-2.0
/**
 * Logs of every container, init and ephemeral ones included, as `podlogs/<namespace>/<pod>/logs/<container>.txt`, and the log before the last
 * restart as `<container>-previous.txt`. A container that has not started yet is noted and passed over.
 */
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import type { Section } from './snapshot.ts';

const bytesMax = 2_000_000;

export async function collectPodLogs(section: Section, namespaces: readonly string[]): Promise<void> {
  for (const namespace of namespaces) {
    let pods: V1Pod[];
    try {
      ({ items: pods } = await section.kube.core.listNamespacedPod({ namespace }));
    } catch (error) {
      section.miss(`pods of ${namespace}`, error);
      continue;
    }
    await Promise.all(pods.map((pod) => collectPod(section, pod)));
  }
}

async function collectPod(section: Section, pod: V1Pod): Promise<void> {
  const { status } = pod;
  const containers = [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ];
  for (const container of containers) {
    const where = `${pod.metadata?.namespace}/${pod.metadata?.name}`;
    try {
      await collectContainer(section, pod, container);
    } catch (error) {
      section.miss(`log of ${where} ${container.name}`, error);
    }
  }
}

async function collectContainer(section: Section, pod: V1Pod, container: V1ContainerStatus): Promise<void> {
  const { namespace, name } = pod.metadata ?? {};
  const fetchLog = async (previous: boolean): Promise<void> => {
    const query = `container=${container.name}&limitBytes=${bytesMax}${previous ? '&previous=true' : ''}`;
    const response = await section.kube.request({
      path: `/api/v1/namespaces/${namespace}/pods/${name}/log?${query}`,
      signal: section.signal,
    });
    if (response.status !== 200)
      throw new Error(`answered ${response.status}: ${response.body.toString().slice(0, 200)}`);
    section.write(
      `podlogs/${namespace}/${name}/logs/${container.name}${previous ? '-previous' : ''}.txt`,
      response.body,
    );
  };
  const waiting = container.state?.waiting;
  if (waiting !== undefined && container.restartCount === 0) {
    throw new Error(`it has not started: ${waiting.reason ?? 'waiting'} ${waiting.message ?? ''}`);
  }
  await fetchLog(false);
  if (container.restartCount > 0) await fetchLog(true);
}

// SPDX-License-Identifier: Apache-2.0
/**
 * A scheduler that heeds nothing: every pod goes to one node, the first or the last worker by name. Takes the path of a kubeconfig and
 * `first` or `last`; runs until it is ended. Stands in for the real one while that is stopped.
 */
import { CoreV1Api, KubeConfig, Watch, type V1Pod } from '@kubernetes/client-node';

const [path = '', which = 'first'] = process.argv.slice(2);
const config = new KubeConfig();
config.loadFromFile(path);
const core = config.makeApiClient(CoreV1Api);
const workers = (await core.listNode()).items
  .filter(({ spec }) => (spec?.taints ?? []).every(({ effect }) => effect !== 'NoSchedule'))
  .map(({ metadata }) => metadata?.name ?? '')
  .toSorted();
const chosen = (which === 'first' ? workers[0] : workers.at(-1)) ?? '';

async function place(pod: V1Pod): Promise<void> {
  const { name = '', namespace = 'default' } = pod.metadata ?? {};
  // Pods that must run on one node are placed there: daemon sets and the run's own probes are not what is tried.
  const term = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms[0];
  const node = term?.matchFields?.[0]?.values?.[0] ?? chosen;
  const body = { metadata: { name, namespace }, target: { apiVersion: 'v1', kind: 'Node', name: node } };
  await core.createNamespacedBinding({ namespace, body }).catch(() => undefined);
}

for (;;) {
  await new Promise<void>((resolve) => {
    void new Watch(config)
      .watch(
        '/api/v1/pods',
        { fieldSelector: 'spec.nodeName=' },
        (type, pod: V1Pod) => {
          if (type === 'ADDED' || type === 'MODIFIED') void place(pod);
        },
        () => resolve(),
      )
      .catch(() => resolve());
  });
}

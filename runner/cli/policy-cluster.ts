// SPDX-License-Identifier: Apache-2.0
/** Objects of a live cluster, for `plumb policy`. Only reads. */
import { Problem } from '../problem.ts';
import { readableMessage } from '../execute/failure.ts';
import { findTarget, type TargetFlags } from '../target/existing-target.ts';
import { createKubeClients } from '../target/kube-clients.ts';
import { reachRemedy } from '../target/preflight.ts';
import { isRecord, toDocuments, type SourceDocument } from './policy-documents.ts';

const lists = [
  '/api/v1/namespaces',
  '/api/v1/nodes',
  '/api/v1/pods',
  '/api/v1/services',
  '/apis/discovery.k8s.io/v1/endpointslices',
  '/apis/networking.k8s.io/v1/networkpolicies',
];
/** Not every cluster has it. */
const clusterPolicies = '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies';

export async function documentsOfCluster(flags: TargetFlags): Promise<SourceDocument[]> {
  const target = await findTarget(flags);
  if (target === undefined) {
    throw new Problem(
      'there is nothing to read policies from: no -f, no kubeconfig, and the embedded cluster does not run',
      'Name a file or directory with -f PATH, or a cluster with --kubeconfig FILE.',
    );
  }
  const kube = createKubeClients(target.config);
  const list = async (path: string): Promise<SourceDocument[]> => {
    const response = await kube.request({ path });
    if (path === clusterPolicies && response.status === 404) return [];
    const body = response.json();
    if (response.status !== 200 || !isRecord(body)) {
      throw new Problem(
        `${target.server}: GET ${path} answered ${response.status}`,
        'Use a kubeconfig whose user may list pods, nodes, namespaces, services, endpointslices and networkpolicies.',
      );
    }
    // Where an object stands in a list says nothing to anybody.
    return toDocuments(body, target.server).map((one) => ({ ...one, origin: target.server }));
  };
  try {
    return (await Promise.all([...lists, clusterPolicies].map(list))).flat();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const message = `${target.server}: ${readableMessage(error)}`;
    throw new Problem(message, reachRemedy(error, target.server), { cause: error });
  }
}

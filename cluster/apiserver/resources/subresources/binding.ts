// SPDX-License-Identifier: Apache-2.0
// Binding: puts a pod on a node. `pods/binding` and the older `bindings` resource do the same.
import type { Binding, Pod } from '../../../machinery/api-types.ts';
import { badRequest, conflict, invalid } from '../../status.ts';
import type { KubeObject, RequestContext, SubresourceDefinition } from '../definition.ts';
import { required } from '../validation/fields.ts';
import { timestamp } from './timestamps.ts';

export const bindingSubresource: SubresourceDefinition = {
  kind: 'Binding',
  verbs: ['create'],
  async handle({ context, parent, body }) {
    const binding = body as unknown as Binding | undefined;
    if (binding === undefined) {
      throw badRequest('a Binding is required');
    }
    const name = parent.metadata.name ?? '';
    if (binding.metadata?.name !== undefined && binding.metadata.name !== '' && binding.metadata.name !== name) {
      throw badRequest('name in URL does not match name in Binding object');
    }
    await bind(binding, { name, namespace: parent.metadata.namespace ?? '' }, context);
    return { status: 201, object: bound };
  },
};

/** What a successful binding is answered with. */
export const bound = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };

/** Errors: 422 for a target that is no node, 409 for a pod that is bound, gated or going away. */
export async function bind(
  binding: Binding,
  pod: { readonly name: string; readonly namespace: string },
  context: RequestContext,
): Promise<void> {
  const { kind = '', name: nodeName = '' } = binding.target ?? {};
  const errors = [
    ...(kind !== '' && kind !== 'Node'
      ? [
          {
            type: 'Unsupported value',
            field: 'target.kind',
            value: kind,
            detail: 'supported values: "Node", "<empty>"',
          } as const,
        ]
      : []),
    ...(nodeName === '' ? [required('target.name')] : []),
  ];
  if (errors.length > 0) {
    throw invalid({ group: '', kind: 'Binding' }, pod.name, errors);
  }
  await context.registry.update('pods', pod.namespace, pod.name, (stored) => assign(stored, binding, nodeName), {
    subresource: 'binding',
    ...(binding.metadata?.uid !== undefined && binding.metadata.uid !== '' && { uid: binding.metadata.uid }),
    ...(binding.metadata?.resourceVersion !== undefined &&
      binding.metadata.resourceVersion !== '' && { resourceVersion: binding.metadata.resourceVersion }),
    context: { dryRun: context.dryRun, user: context.user, fieldManager: context.fieldManager },
  });
}

function assign(stored: KubeObject, binding: Binding, nodeName: string): KubeObject {
  const pod = stored as unknown as Pod;
  const name = pod.metadata.name ?? '';
  const refuse = (why: string): Error => conflict({ group: '', plural: 'pods/binding' }, name, why);
  if (pod.metadata.deletionTimestamp !== undefined) {
    throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
  }
  if (pod.spec === undefined) {
    throw refuse(`pod ${name} has no spec`);
  }
  if ((pod.spec.nodeName ?? '') !== '') {
    throw refuse(`pod ${name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`);
  }
  if ((pod.spec.schedulingGates ?? []).length > 0) {
    throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
  }
  pod.spec.nodeName = nodeName;
  if (Object.keys(binding.metadata?.annotations ?? {}).length > 0) {
    pod.metadata.annotations = { ...pod.metadata.annotations, ...binding.metadata.annotations };
  }
  if (Object.keys(binding.metadata?.labels ?? {}).length > 0) {
    pod.metadata.labels = { ...pod.metadata.labels, ...binding.metadata.labels };
  }
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled');
  const { nominatedNodeName: _, ...status } = pod.status ?? {};
  pod.status = {
    ...status,
    conditions: [
      ...others,
      {
        type: 'PodScheduled',
        status: 'True',
        lastTransitionTime: timestamp(),
        ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
      },
    ],
  };
  return stored;
}

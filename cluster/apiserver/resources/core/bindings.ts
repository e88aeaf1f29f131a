// SPDX-License-Identifier: Apache-2.0
// Bindings: the older way to put a pod on a node. Never stored.
import type { Binding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { bind, bound } from '../subresources/binding.ts';

export const bindings = define<Binding>({
  group: '',
  plural: 'bindings',
  kind: 'Binding',
  namespaced: true,
  verbs: ['create'],
  async review(binding, context) {
    const { name = '' } = binding.metadata;
    await bind(binding, { name, namespace: context.namespace ?? binding.metadata.namespace ?? '' }, context);
    // The answer is a Status, as upstream's is.
    return bound as unknown as Binding;
  },
});

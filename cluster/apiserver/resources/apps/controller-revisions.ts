// SPDX-License-Identifier: Apache-2.0
// Controller revisions: what a stateful or daemon set looked like before.
import type { ControllerRevision } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer, text } from '../printing/columns.ts';
import { immutable, nonNegative } from '../validation/fields.ts';

export const controllerRevisions = define<ControllerRevision>({
  group: 'apps',
  plural: 'controllerrevisions',
  kind: 'ControllerRevision',
  namespaced: true,
  validate: ({ revision }) => nonNegative('revision', revision),
  validateUpdate: (revision, old) => immutable('data', revision.data, old.data),
  columns: [
    text('Controller', ({ metadata }) => {
      const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
      if (owner === undefined) {
        return '<none>';
      }
      const [group] = owner.apiVersion.split('/');
      const kind = owner.kind.toLowerCase();
      return owner.apiVersion.includes('/') ? `${kind}.${group}/${owner.name}` : `${kind}/${owner.name}`;
    }),
    integer('Revision', ({ revision }) => revision),
  ],
});

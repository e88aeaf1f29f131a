// SPDX-License-Identifier: Apache-2.0
// Controller revisions.
import type { ControllerRevision } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const controllerRevisions = define<ControllerRevision>({
  group: 'apps',
  plural: 'controllerrevisions',
  kind: 'ControllerRevision',
  namespaced: true,
});

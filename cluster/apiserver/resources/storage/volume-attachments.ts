// SPDX-License-Identifier: Apache-2.0
// Volume attachments: a volume is to be attached to a node.
import type { VolumeAttachment } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { boolean, text } from '../printing/columns.ts';
import { immutable, required } from '../validation/fields.ts';

export const volumeAttachments = define<VolumeAttachment>({
  group: 'storage.k8s.io',
  plural: 'volumeattachments',
  kind: 'VolumeAttachment',
  namespaced: false,
  validate: ({ spec }) => [
    ...((spec?.attacher ?? '') === '' ? [required('spec.attacher')] : []),
    ...((spec?.nodeName ?? '') === '' ? [required('spec.nodeName')] : []),
    ...(spec?.source === undefined
      ? [required('spec.source', 'must specify exactly one of inlineVolumeSpec and persistentVolumeName')]
      : []),
  ],
  validateUpdate: (value, old) => immutable('spec', value.spec, old.spec),
  status: true,
  initialStatus: () => ({ attached: false }),
  columns: [
    text('Attacher', ({ spec }) => spec.attacher),
    text('PV', ({ spec }) => spec.source?.persistentVolumeName ?? ''),
    text('Node', ({ spec }) => spec.nodeName),
    boolean('Attached', ({ status }) => status?.attached),
  ],
});

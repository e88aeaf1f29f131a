// SPDX-License-Identifier: Apache-2.0
// Volume attachments.
import type { VolumeAttachment } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const volumeAttachments = define<VolumeAttachment>({
  group: 'storage.k8s.io',
  plural: 'volumeattachments',
  kind: 'VolumeAttachment',
  namespaced: false,
  status: true,
});

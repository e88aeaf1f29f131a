// SPDX-License-Identifier: Apache-2.0
// Events.
import type { Event } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const events = define<Event>({
  group: '',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
});

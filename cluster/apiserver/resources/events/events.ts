// SPDX-License-Identifier: Apache-2.0
// The events.k8s.io view of core events.
import type { EventsV1Event } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const eventsV1 = define<EventsV1Event>({
  group: 'events.k8s.io',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
  storedAs: 'events',
});

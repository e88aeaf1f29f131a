// SPDX-License-Identifier: Apache-2.0
// The events.k8s.io view of events: the same stored objects under other names of fields.
import type { Event, EventsV1Event } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { KubeObject } from '../definition.ts';
import { eventColumns, eventFields, events } from '../core/events.ts';

export const eventsV1 = define<Event>({
  group: 'events.k8s.io',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
  storedAs: 'events',
  storedSchema: 'io.k8s.api.core.v1.Event',
  versions: [{ version: 'v1', schema: 'io.k8s.api.events.v1.Event', fromStorage, toStorage }],
  ...(events.validate !== undefined && {
    validate: (event, context) => events.validate?.(event as unknown as KubeObject, context) ?? [],
  }),
  selectableFields: (event) => {
    const fields = eventFields(event);
    const renamed = Object.entries(fields).map(([key, value]) => [key.replace('involvedObject.', 'regarding.'), value]);
    return {
      ...fields,
      ...(Object.fromEntries(renamed) as Record<string, string>),
      reportingController: fields['reportingComponent'] ?? '',
    };
  },
  allColumns: eventColumns(),
});

function fromStorage(object: KubeObject): KubeObject {
  const { involvedObject, message, source, firstTimestamp, lastTimestamp, count, reportingComponent, ...rest } =
    object as unknown as Event;
  const shown: EventsV1Event = {
    ...rest,
    apiVersion: 'events.k8s.io/v1',
    eventTime: rest.eventTime ?? (null as unknown as string),
    regarding: involvedObject,
    ...(message !== undefined && { note: message }),
    ...(reportingComponent !== undefined && { reportingController: reportingComponent }),
    ...(source !== undefined && { deprecatedSource: source }),
    ...(firstTimestamp !== undefined && { deprecatedFirstTimestamp: firstTimestamp }),
    ...(lastTimestamp !== undefined && { deprecatedLastTimestamp: lastTimestamp }),
    ...(count !== undefined && { deprecatedCount: count }),
    series: rest.series as EventsV1Event['series'] & object,
  };
  if (rest.series === undefined) {
    delete shown.series;
  }
  return shown as unknown as KubeObject;
}

function toStorage(object: KubeObject): KubeObject {
  const {
    regarding,
    note,
    reportingController,
    deprecatedSource,
    deprecatedFirstTimestamp,
    deprecatedLastTimestamp,
    deprecatedCount,
    ...rest
  } = object as unknown as EventsV1Event;
  const stored: Event = {
    ...rest,
    apiVersion: 'v1',
    involvedObject: regarding ?? {},
    ...(note !== undefined && { message: note }),
    ...(reportingController !== undefined && { reportingComponent: reportingController }),
    ...(deprecatedSource !== undefined && { source: deprecatedSource }),
    ...(deprecatedFirstTimestamp !== undefined && { firstTimestamp: deprecatedFirstTimestamp }),
    ...(deprecatedLastTimestamp !== undefined && { lastTimestamp: deprecatedLastTimestamp }),
    ...(deprecatedCount !== undefined && { count: deprecatedCount }),
  };
  return stored as unknown as KubeObject;
}

// SPDX-License-Identifier: Apache-2.0
// Events: what components tell about objects.
import type { Event } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { integer, text, wide, type CellColumn } from '../printing/columns.ts';
import { since } from '../printing/durations.ts';
import { invalid } from '../validation/fields.ts';

export const events = define<Event>({
  group: '',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
  shortNames: ['ev'],
  validate,
  selectableFields: eventFields,
  allColumns: eventColumns(),
});

/** Shared with events.k8s.io, which shows the same objects. */
export function eventFields(event: Event): Record<string, string> {
  const about = event.involvedObject;
  return {
    'involvedObject.kind': about?.kind ?? '',
    'involvedObject.namespace': about?.namespace ?? '',
    'involvedObject.name': about?.name ?? '',
    'involvedObject.uid': about?.uid ?? '',
    'involvedObject.apiVersion': about?.apiVersion ?? '',
    'involvedObject.resourceVersion': about?.resourceVersion ?? '',
    'involvedObject.fieldPath': about?.fieldPath ?? '',
    reason: event.reason ?? '',
    reportingComponent: reporter(event),
    source: (event.source?.component ?? '') === '' ? reporter(event) : (event.source?.component ?? ''),
    type: event.type ?? '',
  };
}

export function eventColumns(): CellColumn<Event>[] {
  return [
    text('Last Seen', (event, now) =>
      since(event.series?.lastObservedTime ?? event.lastTimestamp ?? first(event), now),
    ),
    text('Type', ({ type }) => type ?? ''),
    text('Reason', ({ reason }) => reason ?? ''),
    text('Object', ({ involvedObject: about }) =>
      (about?.name ?? '') === ''
        ? (about?.kind ?? '').toLowerCase()
        : `${(about?.kind ?? '').toLowerCase()}/${about?.name}`,
    ),
    wide(text('Subobject', ({ involvedObject }) => involvedObject?.fieldPath ?? '')),
    wide(
      text('Source', ({ source, reportingComponent, reportingInstance }) =>
        [source?.component ?? reportingComponent, source?.host ?? reportingInstance]
          .filter((part) => part !== undefined && part !== '')
          .join(', '),
      ),
    ),
    text('Message', ({ message }) => (message ?? '').trim()),
    wide(text('First Seen', (event, now) => since(first(event), now))),
    wide(integer('Count', ({ series, count }) => series?.count ?? (count === undefined || count === 0 ? 1 : count))),
    wide(text('Name', ({ metadata }) => metadata.name ?? '')),
  ];
}

function first({ firstTimestamp, eventTime }: Event): string | undefined {
  return firstTimestamp ?? eventTime;
}

function reporter({ reportingComponent = '', source }: Event): string {
  return reportingComponent === '' ? (source?.component ?? '') : reportingComponent;
}

function validate({ metadata, involvedObject }: Event): FieldError[] {
  const { namespace = '' } = involvedObject ?? {};
  const expected = namespace === '' ? 'default' : namespace;
  // Events about objects without a namespace live in `default` or kube-system.
  const matches = metadata.namespace === expected || (namespace === '' && metadata.namespace === 'kube-system');
  return matches ? [] : [invalid('involvedObject.namespace', namespace, 'does not match event.namespace')];
}

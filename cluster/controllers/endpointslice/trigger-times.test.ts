// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import type { Pod } from '../../machinery/api-types.ts';
import { triggerTimeAnnotation, TriggerTimes, withTriggerTime } from './trigger-times.ts';

describe('trigger times of slices', () => {
  const service = { metadata: { name: 'web', creationTimestamp: '2026-01-01T00:00:10Z' } };
  const pod = (uid: string, time: string): Pod => ({
    metadata: { uid },
    status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: time }] },
  });

  it('are the earliest of the changes since the last time', () => {
    const times = new TriggerTimes();
    const a = pod('a', '2026-01-01T00:00:05Z');
    expect(times.observe('x/web', service, [a])).to.equal('2026-01-01T00:00:05.000Z');
    expect(times.observe('x/web', service, [a])).to.equal(undefined);
    const later = [pod('b', '2026-01-01T00:00:30Z'), pod('c', '2026-01-01T00:00:20Z')];
    expect(times.observe('x/web', service, [a, ...later])).to.equal('2026-01-01T00:00:20.000Z');
    expect(times.observe('x/web', service, later)).to.equal(undefined);
  });

  it('replace the one that a slice has, or remove it', () => {
    const slice = {
      metadata: { annotations: { [triggerTimeAnnotation]: 'old', other: 'stays' } },
      addressType: 'IPv4',
      endpoints: [],
    } as const;
    const changed = withTriggerTime({ ...slice, endpoints: [] }, 'new').metadata.annotations;
    expect(changed).to.deep.equal({ [triggerTimeAnnotation]: 'new', other: 'stays' });
    expect(withTriggerTime({ ...slice, endpoints: [] }, undefined).metadata.annotations).to.deep.equal({
      other: 'stays',
    });
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { placeholder, withheld } from './redaction.ts';

describe('withheld', () => {
  it('takes out values that look secret, wherever a container is, and leaves references', () => {
    const pod = {
      metadata: {
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"password":"x"}', other: 'kept' },
      },
      spec: {
        containers: [
          {
            env: [
              { name: 'DB_PASSWORD', value: 'hunter2' },
              { name: 'API_KEY', value: 'k' },
              { name: 'LOG_LEVEL', value: 'debug' },
              { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
            ],
          },
        ],
      },
    };
    expect(withheld(pod)).to.deep.equal({
      metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': placeholder, other: 'kept' } },
      spec: {
        containers: [
          {
            env: [
              { name: 'DB_PASSWORD', value: placeholder },
              { name: 'API_KEY', value: placeholder },
              { name: 'LOG_LEVEL', value: 'debug' },
              { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
            ],
          },
        ],
      },
    });
  });
});

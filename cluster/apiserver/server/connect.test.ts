// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { connectOptions } from './connect.ts';

describe('the options of a connection', () => {
  it('are those of its query', () => {
    const query = new URLSearchParams('container=c&command=sh&command=-c&stdin=true&stdout=1&tty=false');
    expect(connectOptions('PodExecOptions', query, '')).to.deep.equal({
      apiVersion: 'v1',
      kind: 'PodExecOptions',
      metadata: {},
      stdin: true,
      stdout: true,
      container: 'c',
      command: ['sh', '-c'],
    });
    const ports = connectOptions('PodPortForwardOptions', new URLSearchParams('ports=80,81&ports=82'), '');
    expect(ports['ports']).to.deep.equal([80, 81, 82]);
    expect(connectOptions('ServiceProxyOptions', query, 'a/b')).to.have.property('path', '/a/b');
  });
});

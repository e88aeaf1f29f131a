// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';

import type { CgroupMount } from './cgroups.ts';
import { initScript } from './node-init.ts';

describe('machines/node-init', () => {
  const version2: CgroupMount[] = [{ path: '/sys/fs/cgroup', version: 2, option: '' }];
  const version1: CgroupMount[] = [
    { path: '/sys/fs/cgroup/cpu,cpuacct', version: 1, option: 'cpu,cpuacct' },
    { path: '/sys/fs/cgroup/systemd', version: 1, option: 'none,name=systemd' },
  ];
  const script = (cgroups: readonly CgroupMount[], keepVisible: readonly string[] = []): string =>
    initScript({
      name: 'n',
      addresses: ['172.28.0.10', 'fd00:172:28:0::10'],
      directory: "/state/it's here/n",
      keepVisible,
      cgroups,
    });

  it('is a shell script, whatever the directories are called', () => {
    for (const cgroups of [version1, version2]) {
      execFileSync('sh', ['-n'], { input: script(cgroups, ['/tmp/a b/checkout', '/home/x']) });
    }
  });

  it('mounts the hierarchies of the host afresh, so that the node sees its own group as their root', () => {
    expect(script(version2)).to.include('mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup\n');
    expect(script(version1)).to.include('mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd\n');
    expect(script(version1)).to.include('ln -sfn /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup/cpu\n');
  });

  it("keeps a checkout below /tmp visible under the node's own /tmp, and refuses one below /run", () => {
    const text = script(version2, ['/tmp/ci/checkout']);
    expect(text.indexOf("tmp/ci/checkout'")).to.be.greaterThan(0);
    expect(text.indexOf("tmp/ci/checkout'")).to.be.lessThan(text.indexOf(' /tmp\n'));
    expect(() => script(version2, ['/run/user/1/checkout'])).to.throw('/run/user/1/checkout cannot be seen in nodes');
  });

  it('routes through the host, address 1 of the LAN', () => {
    expect(script(version2))
      .to.include('addr add 172.28.0.10/24 dev eth0')
      .and.include('addr add fd00:172:28:0::10/64 dev eth0 nodad')
      .and.include('route add default via 172.28.0.1\n')
      .and.include('route add default via fd00:172:28:0::1\n');
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { parseCgroupMounts } from './cgroups.ts';

describe('machines/cgroups', () => {
  it('reads version 1 with joined and named controllers, and version 2 beside it', () => {
    const mountinfo = [
      '25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
      '30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755',
      '31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate',
      '32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd',
      '35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct',
      '36 30 0:32 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory',
      '77 25 0:32 / /elsewhere rw shared:16 - cgroup cgroup rw,memory',
    ].join('\n');
    expect(parseCgroupMounts(mountinfo)).to.deep.equal([
      { path: '/sys/fs/cgroup/unified', version: 2, option: '' },
      { path: '/sys/fs/cgroup/systemd', version: 1, option: 'none,name=systemd' },
      { path: '/sys/fs/cgroup/cpu,cpuacct', version: 1, option: 'cpu,cpuacct' },
      { path: '/sys/fs/cgroup/memory', version: 1, option: 'memory' },
    ]);
  });

  it('reads version 2 alone', () => {
    const line =
      '29 23 0:25 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot';
    expect(parseCgroupMounts(line)).to.deep.equal([{ path: '/sys/fs/cgroup', version: 2, option: '' }]);
  });
});

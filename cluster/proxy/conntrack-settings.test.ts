// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';

import { parseFlags } from '../machinery/flags.ts';
import { applyConntrackSettings, conntrackFlags, conntrackSettings } from './conntrack-settings.ts';

describe('settings of the connection tracker', () => {
  it('are those of upstream by default', () => {
    const settings = conntrackSettings(parseFlags([], conntrackFlags), 8);
    expect(settings.map(({ name, value }) => [name, value])).to.deep.equal([
      ['nf_conntrack_max', 262_144],
      ['nf_conntrack_tcp_timeout_established', 86_400],
      ['nf_conntrack_tcp_timeout_close_wait', 3_600],
    ]);
    expect(conntrackSettings(parseFlags([], conntrackFlags), 2)[0]?.value).to.equal(131_072);
  });

  it('are left alone where a flag is 0', () => {
    const none = ['max-per-core=0', 'tcp-timeout-established=0s', 'tcp-timeout-close-wait=0'];
    const flags = parseFlags(
      none.map((flag) => `--conntrack-${flag}`),
      conntrackFlags,
    );
    expect(conntrackSettings(flags, 2)).to.deep.equal([]);
  });

  it('are written where they differ, never lower the limit, and say what cannot be set', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'conntrack-'));
    const read = (name: string): string => readFileSync(join(directory, `nf_conntrack_${name}`), 'utf8').trim();
    try {
      writeFileSync(join(directory, 'nf_conntrack_max'), '500000\n');
      writeFileSync(join(directory, 'nf_conntrack_tcp_timeout_established'), '432000\n');
      const failures = await applyConntrackSettings(parseFlags([], conntrackFlags), { directory, cores: 2 });
      expect(read('max')).to.equal('500000');
      expect(read('tcp_timeout_established')).to.equal('86400');
      expect(failures).to.have.length(1);
      expect(failures[0]).to.match(/^nf_conntrack_tcp_timeout_close_wait=3600: ENOENT/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

// SPDX-License-Identifier: Apache-2.0

import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { projectDirectory } from '../boot/layout.ts';
import { decodeFault, readFaults } from './fault.ts';
import { until } from '../machines/until.ts';
import { endScript, keepScript, parseReference } from './perform.ts';
import { fillIn } from './world.ts';

const origin = { file: 'x.faults.yaml', area: 'x' };
const fault = {
  id: 'a',
  title: 'a',
  inject: [{ on: 'worker', run: ':' }],
  symptoms: 'none',
  diagnosis: [{ reason: 'mtu', component: 'network' }],
};

describe('faults', () => {
  const faults = readFaults(join(projectDirectory, 'fixtures/faults'));

  it('are many, and each says what breaks, what is seen, and what a right diagnosis is', () => {
    expect(faults).to.have.length.above(50);
    for (const { id, title, symptoms, diagnosis } of faults) {
      expect(title, id).not.to.equal(symptoms);
      expect(diagnosis, id).not.to.equal([]);
    }
  });

  it('name only kinds that there are, and variables that a cluster has', () => {
    const variables =
      /^(?:CONTROL_PLANE|WORKER2?|(?:WEB|API|DB|CLIENT|DNS)2?)(?:_IP|_POD_CIDR|_NODE)?$|^[A-Z]+_(?:SERVICE_IP|NODE_PORT)$|^IMAGE$|^LAN_PREFIX$/;
    for (const { id, inject, diagnosis } of faults) {
      const named = [...JSON.stringify({ inject, diagnosis }).matchAll(/\$\{([A-Z0-9_]+)/g)].map((match) => match[1]);
      for (const name of named) expect(name, id).to.match(variables);
      for (const step of inject) if ('patch' in step) parseReference(step.patch);
      for (const object of diagnosis.flatMap((one) => one.object ?? [])) parseReference(object);
    }
  });

  it('say what is wrong with their description', () => {
    const decode = (change: object) => () => decodeFault({ ...fault, ...change }, origin);
    expect(decode({})).not.to.throw();
    expect(decode({ id: 'A b' })).to.throw('x.faults.yaml: id "A b" must be lower-case words');
    expect(decode({ inject: [{ on: 'moon', run: ':' }] })).to.throw(
      'x.faults.yaml: a.inject[0].on must be one of control-plane, worker, worker2, workers, all, lan, not "moon"',
    );
    expect(decode({ inject: [{ on: 'all', run: ':', heal: ':' }] })).to.throw(
      'unknown field "heal"; there are on, run, undo',
    );
    expect(decode({ inject: [] })).to.throw('x.faults.yaml: a.inject must be a list with at least one item');
    expect(decode({ diagnosis: [{ reason: 3 }] })).to.throw('a.diagnosis[0].reason must be text, not 3');
  });

  it('fill in what is there, and name what is not', () => {
    expect(fillIn('Pod shop/${DB} of ${DB_IP}', { DB: 'db-1', DB_IP: '10.0.0.1' })).to.equal(
      'Pod shop/db-1 of 10.0.0.1',
    );
    expect(() => fillIn('${WORKER2}', { WORKER2: '' })).to.throw('there is no WORKER2 in this cluster');
  });

  it('that go on are ended with all their children', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'plumb-faults-'));
    try {
      const pidFile = join(folder, 'pid');
      const sh = (script: string): string => execFileSync('sh', ['-eu'], { input: script, encoding: 'utf8' });
      sh(keepScript(pidFile, 'sleep 60 | while read -r _; do :; done'));
      await until(async () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '', {
        what: 'the script to start',
        timeoutMs: 5_000,
        intervalMs: 20,
      });
      const group = readFileSync(pidFile, 'utf8').trim();
      sh(endScript(pidFile));
      expect(sh(`kill -s 0 -- -${group} 2>/dev/null || echo gone`)).to.equal('gone\n');
      expect(existsSync(pidFile)).to.equal(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

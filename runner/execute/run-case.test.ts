// SPDX-License-Identifier: Apache-2.0
/** How a case ends, for every way in which a body can end. Bodies here need no cluster. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { expect } from 'chai';
import {
  defineCase,
  InconclusiveError,
  pending,
  type Case,
  type CaseContext,
  type CaseMetadata,
} from '../../suites/case.ts';
import { makePlan } from '../plan/plan.ts';
import type { CaseFinished } from '../results/events.ts';
import { createRecorder, type Recorder } from '../results/recorder.ts';
import { createKubeClients } from '../target/kube-clients.ts';
import type { RunEnvironment } from './case-context.ts';
import { runCase } from './run-case.ts';
import { runPlan } from './run-plan.ts';

let folder: string;
let recorder: Recorder;
let environment: RunEnvironment;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plumb-case-'));
  recorder = createRecorder(folder, () => new Date());
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'none', server: 'https://127.0.0.1:59999', skipTLSVerify: true },
    { name: 'none' },
  );
  environment = {
    runId: 'r1',
    kube: createKubeClients(config),
    fleet: { forCase: () => ({}) as CaseContext['probes'], close: async () => {} },
    cluster: {
      serverVersion: 'v1.36.0',
      minor: 36,
      nodes: [],
      workers: [],
      controlPlanes: [],
      dnsServiceIp: undefined,
      clusterDomain: 'cluster.local',
    },
    images: { probe: 'x' },
    recorder,
    keepFailed: false,
  };
});
afterEach(() => {
  recorder.close();
  rmSync(folder, { recursive: true, force: true });
});

function caseOf(body: (t: CaseContext) => Promise<void>, extra: Partial<CaseMetadata> = {}): Case {
  return defineCase(
    { id: 'api.a', area: 'api', title: 'a', description: '', requirements: [], modes: ['full'], ...extra },
    body,
  );
}

async function ended(
  one: Case,
  options: { readonly interrupt?: AbortSignal; readonly disturbance?: string } = {},
): Promise<CaseFinished> {
  return runCase(one, environment, {
    interrupt: options.interrupt ?? new AbortController().signal,
    disturbanceSince: async () => options.disturbance,
  });
}

const kinds = (): string[] => recorder.events.map((event) => event.type);

describe('runCase', () => {
  it('passes, and takes apart in reverse order', async () => {
    const order: string[] = [];
    const result = await ended(
      caseOf(async (t) => {
        t.onTeardown(async () => void order.push('first'));
        t.onTeardown(async () => void order.push('second'));
        t.onFailure(async () => void order.push('failure hook'));
        await t.step('outer', () => t.step('inner', async () => {}));
      }),
    );
    expect(result).to.include({ status: 'passed', attempts: 1 });
    expect(order).to.deep.equal(['second', 'first']);
    expect(kinds()).to.deep.equal(['case-started', 'step-finished', 'step-finished', 'case-finished']);
    expect(recorder.events.flatMap((event) => (event.type === 'step-finished' ? [event.name] : []))).to.deep.equal([
      'outer > inner',
      'outer',
    ]);
  });

  it('fails with the step, what was expected, and the evidence of its failure hook', async () => {
    const result = await ended(
      caseOf(async (t) => {
        t.onFailure(async (error) => t.attach({ name: 'why.txt', content: error.message, role: 'explanation' }));
        t.onTeardown(async () => {
          throw new Error('stuck');
        });
        await t.step('compare', async () => expect([1]).to.deep.equal([2]));
      }),
    );
    expect(result).to.include({ status: 'failed', attempts: 1 });
    expect(result.error).to.include({ name: 'AssertionError', step: 'compare', expected: '[ 2 ]', actual: '[ 1 ]' });
    expect(result.troubles).to.deep.equal(['teardown: stuck']);
    expect(readFileSync(join(folder, 'evidence/api.a/why.txt'), 'utf8')).to.equal(
      'expected [ 1 ] to deeply equal [ 2 ]',
    );
  });

  it('tries again where nothing could be concluded, once, and records it', async () => {
    let attempts = 0;
    const result = await ended(
      caseOf(async () => {
        if (++attempts === 1) throw new InconclusiveError('stream ended');
      }),
    );
    expect(result).to.include({ status: 'passed', attempts: 2 });
    expect(kinds()).to.deep.equal(['case-started', 'case-retried', 'case-started', 'case-finished']);
  });

  it('is inconclusive, not failed, when the prober stays broken or the API was away', async () => {
    const broken = await ended(caseOf(() => Promise.reject(new InconclusiveError('stream ended'))));
    expect(broken).to.include({ status: 'inconclusive', attempts: 2, reason: 'stream ended' });
    const away = await ended(
      caseOf(() => Promise.reject(new Error('not as expected'))),
      { disturbance: 'the API server was away' },
    );
    expect(away).to.include({
      status: 'inconclusive',
      attempts: 2,
      reason: 'not as expected; the API server was away',
    });
  });

  it('counts a refused connection as inconclusive', async () => {
    const result = await ended(caseOf(async (t) => void (await t.kube.core.listNode())));
    expect(result).to.include({ status: 'inconclusive', attempts: 2 });
    expect(result.reason).to.contain('ECONNREFUSED');
  });

  it('ends at its deadline and says at which step it was', async () => {
    const result = await ended(
      caseOf((t) => t.step('wait', () => t.waitFor('the moon', async () => pending('cloud'))), { timeoutMs: 60 }),
    );
    expect(result).to.include({ status: 'failed', reason: 'not done within its 60 ms; it was at the step "wait"' });
  });

  it('says the last state when a wait was in vain', async () => {
    const result = await ended(
      caseOf((t) => t.waitFor('the moon', async () => pending('cloud'), { timeoutMs: 30, intervalMs: 5 })),
    );
    expect(result.reason).to.equal('waited 30 ms for the moon; last state: cloud');
  });

  it('keeps what a failed case made, and only that, when it is asked to', async () => {
    // No API answers here: an attempt to delete shows as trouble.
    const owning = (fails: boolean): Case =>
      caseOf(async (t) => {
        t.own({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } });
        expect(fails).to.equal(false);
      });
    environment = { ...environment, keepFailed: true };
    expect((await ended(owning(true))).troubles).to.equal(undefined);
    expect((await ended(owning(false))).troubles).to.have.length(1);
    environment = { ...environment, keepFailed: false };
    expect((await ended(owning(true))).troubles).to.have.length(1);
  });

  it('is skipped, with the reason, by itself or by an interrupt; teardown runs', async () => {
    const skipped = await ended(caseOf(async (t) => t.skip('no such thing')));
    expect(skipped).to.include({ status: 'skipped', reason: 'no such thing' });
    expect(skipped).not.to.have.property('error');

    const interrupt = new AbortController();
    let torn = false;
    const running = ended(
      caseOf(async (t) => {
        t.onTeardown(async () => void (torn = true));
        interrupt.abort();
        await t.waitFor('the moon', async () => pending('cloud'));
      }),
      { interrupt: interrupt.signal },
    );
    expect(await running).to.include({ status: 'skipped', reason: 'interrupted' });
    expect(torn).to.equal(true);
  });
});

describe('runPlan', () => {
  const plan = async (
    cases: readonly Case[],
    parallel: number,
    interrupt = new AbortController(),
  ): Promise<string[]> => {
    const order: string[] = [];
    let running = 0;
    await runPlan(makePlan(cases, new Map([['ipv6', 'no address']])), {
      parallel,
      recorder,
      interrupt: interrupt.signal,
      settle: async () => void order.push('settle'),
      runCase: async (one) => {
        order.push(`+${one.id}:${++running}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(`-${one.id}`);
        running--;
        if (one.id === 'api.stop') interrupt.abort();
      },
    });
    return order;
  };
  const named = (id: string, extra: Partial<CaseMetadata> = {}): Case =>
    caseOf(async () => {}, { id, title: id, ...extra });

  it('keeps to the lanes, to the locks, and serial cases apart', async () => {
    const order = await plan(
      [
        named('api.a', { locks: ['x'] }),
        named('api.b', { locks: ['x'] }),
        named('api.c'),
        named('api.d', { serial: true }),
      ],
      2,
    );
    expect(order).to.deep.equal([
      '+api.a:1',
      '+api.c:2',
      '-api.a',
      '+api.b:2',
      '-api.c',
      '-api.b',
      'settle',
      '+api.d:1',
      '-api.d',
    ]);
  });

  it('lets few cases take turns with what they share, and makes more of it for many', async () => {
    const sharing = (count: number): Case[] =>
      Array.from({ length: count }, (_, index) => named(`api.n${index}`, { shares: ['world'] }));
    const atOnce = async (cases: readonly Case[]): Promise<number> =>
      Math.max(
        ...(await plan(cases, 4)).flatMap((line) => (line.startsWith('+api.n') ? [Number(line.split(':')[1])] : [])),
      );
    expect(await atOnce(sharing(8))).to.equal(1);
    expect(await atOnce(sharing(9))).to.equal(2);
    expect(await atOnce(sharing(80))).to.equal(4);
    expect(await plan([...sharing(2), named('api.x')], 2)).to.include('+api.x:2');
  });

  it('gives every case a result, also after an interrupt', async () => {
    await plan(
      [named('api.stop'), named('api.b'), named('api.c', { needs: ['ipv6'] }), named('api.d', { serial: true })],
      1,
    );
    const reasons = recorder.events.flatMap((event) =>
      event.type === 'case-finished' ? [`${event.caseId}: ${event.reason}`] : [],
    );
    expect(reasons).to.deep.equal([
      'api.c: needs pods with an IPv6 address: no address',
      'api.b: interrupted',
      'api.d: interrupted',
    ]);
  });
});

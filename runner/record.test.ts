// SPDX-License-Identifier: Apache-2.0
/** The record of a run: written, read back, cut off, forged. */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import { junitXml } from '../reporters/junit/junit.ts';
import { sampleEvents, sampleRun } from '../reporters/sample-run.ts';
import { failedCases } from './plan/failed-cases.ts';
import { Problem } from './problem.ts';
import { decodeEvents } from './results/decode.ts';
import { leavesOf, pluginsOf, readItemTree } from './results/item-tree.ts';
import { readJunit } from './results/junit-reader.ts';
import { ownRecord } from './results/own-record.ts';
import { createRecorder } from './results/recorder.ts';
import type { ResultEvent } from './results/events.ts';
import { openResults } from './results/result-source.ts';
import { countCases, foldEvents, verdictOf } from './results/run-record.ts';
import { writeFileSafely } from './results/write-file.ts';

const sampleText = sampleEvents.map((event) => `${JSON.stringify(event)}\n`).join('');

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'plumb-results-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('decodeEvents', () => {
  it('reads back what was written', () => {
    expect(decodeEvents(sampleText)).to.deep.equal({ events: sampleEvents, unreadable: 0 });
  });

  it('passes over what a newer version added, and counts what is damaged', () => {
    const newer = `{"type":"weather-observed","time":"x","sun":true}\n`;
    const damaged = '{"type":"case-finished","caseId":"x"}\n{"type":"case-fini';
    const { events, unreadable } = decodeEvents(sampleText + newer + damaged);
    expect(events).to.have.length(sampleEvents.length);
    expect(unreadable).to.equal(2);
  });

  it('refuses paths that lead out of the results directory', () => {
    const forged = {
      type: 'evidence-attached',
      time: '',
      caseId: 'a',
      attempt: 1,
      mediaType: '',
      bytes: 1,
      role: 'detail',
    };
    for (const file of ['../../etc/shadow', '/etc/shadow', 'a/../../b', 'a\\..\\b']) {
      expect(decodeEvents(sampleText + JSON.stringify({ ...forged, file })).unreadable, file).to.equal(1);
    }
  });

  it('refuses a schema from the future and a file without a run', () => {
    expect(() => decodeEvents(sampleText.replace('"schema":1', '"schema":2'))).to.throw('use a newer plumb');
    expect(() => decodeEvents('{}\n')).to.throw('not the record of a run');
  });

  it('never throws anything else, and what it lets through can be folded (fuzz)', () => {
    const lines = sampleText.split('\n').filter((line) => line !== '');
    const mutation = fc.record({
      line: fc.nat(lines.length - 1),
      path: fc.array(fc.nat(5), { maxLength: 3 }),
      value: fc.jsonValue(),
    });
    fc.assert(
      fc.property(fc.array(mutation, { maxLength: 6 }), (mutations) => {
        const changed = lines.map((line) => JSON.parse(line) as unknown);
        for (const { line, path, value } of mutations) mutate(changed[line], path, value);
        let decoded: ReturnType<typeof decodeEvents>;
        try {
          decoded = decodeEvents(changed.map((event) => JSON.stringify(event)).join('\n'));
        } catch (error) {
          expect((error as Error).message).to.match(/not the record of a run|use a newer plumb/);
          return;
        }
        const record = foldEvents(decoded.events);
        countCases(record.cases.values());
        verdictOf(record);
      }),
      { numRuns: 300 },
    );
  });
});

/** Replaces the value that lies at the given positions below `target`. */
function mutate(target: unknown, path: readonly number[], value: unknown): void {
  let current = target;
  for (const [depth, index] of path.entries()) {
    if (typeof current !== 'object' || current === null) return;
    const keys = Object.keys(current);
    const key = keys[index % Math.max(1, keys.length)];
    if (key === undefined) return;
    if (depth === path.length - 1) (current as Record<string, unknown>)[key] = value;
    else current = (current as Record<string, unknown>)[key];
  }
}

describe('verdictOf', () => {
  const upTo = (type: string) =>
    foldEvents(
      sampleEvents.slice(
        0,
        sampleEvents.findIndex((event) => event.type === type),
      ),
    );
  it('a failure counts most, also where the run was cut off', () => {
    expect(verdictOf(foldEvents(sampleEvents))).to.deep.equal({ verdict: 'failed', reason: '1 of 6 cases failed' });
    expect(verdictOf(upTo('run-finished')).verdict).to.equal('failed');
  });
  it('a run that was cut off without a failure says nothing', () => {
    expect(verdictOf(upTo('case-retried')).verdict).to.equal('failed');
    expect(verdictOf(upTo('case-started'))).to.deep.equal({
      verdict: 'inconclusive',
      reason: 'the run was cut off before its end',
    });
  });
  it('more flaky cases than the budget allows fail a run in which all passed', () => {
    const told = (flakeBudget: string | undefined, ...flakes: ResultEvent[]) => {
      const passing = sampleEvents.flatMap((event): ResultEvent[] => {
        if (event.type === 'run-started') return [{ ...event, ...(flakeBudget !== undefined && { flakeBudget }) }];
        if (event.type === 'case-retried' || event.type === 'flake-observed') return [];
        if (event.type === 'run-finished') return [...flakes, { ...event, verdict: 'passed' }];
        return [event.type === 'case-finished' ? { ...event, status: 'passed', attempts: 1 } : event];
      });
      return verdictOf(foldEvents(passing)).reason;
    };
    const [caseId = ''] = [...foldEvents(sampleEvents).cases.keys()];
    const flake: ResultEvent = { type: 'flake-observed', time: '', caseId, what: 'x/a was open, closed, open' };
    const retried: ResultEvent = { type: 'case-retried', time: '', caseId, attempt: 1, reason: 'the stream broke' };
    expect(told('0', flake)).to.equal('1 of 5 cases were flaky, and the flake budget 0 allows 0');
    expect(told('0', retried)).to.contain('1 of 5 cases were flaky');
    expect(told('19%', flake)).to.contain('allows 0');
    for (const enough of [undefined, '1', '20%'])
      expect(told(enough, flake, flake) ?? '', enough).not.to.contain('flaky');
    expect(told('0') ?? '').not.to.contain('flaky');
  });
  it('a run in which nothing was carried out says nothing', () => {
    const finished = { type: 'run-finished', time: '', verdict: 'passed', interrupted: false, durationMs: 1 } as const;
    expect(verdictOf(foldEvents([finished]))).to.deep.equal({
      verdict: 'inconclusive',
      reason: 'no case was carried out',
    });
  });
});

describe('the recorder', () => {
  it('has every event and each piece of evidence on the disk at once', () => {
    const recorder = createRecorder(folder, () => new Date(0));
    recorder.record({ type: 'message-logged', level: 'info', message: 'x' });
    recorder.attach('dns.a', 1, { name: '../../a b.txt', content: 'one' });
    recorder.attach('dns.a', 1, { name: '../../a b.txt', content: 'two' });
    const lines = readFileSync(join(folder, 'events.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { file?: string }).file)).to.deep.equal([
      undefined,
      'evidence/dns.a/-..-a-b.txt',
      'evidence/dns.a/-..-a-b-2.txt',
    ]);
    expect(readFileSync(join(folder, 'evidence/dns.a/-..-a-b-2.txt'), 'utf8')).to.equal('two');
    recorder.close();
    expect(recorder.trouble).to.equal(undefined);
  });

  it('goes on in memory when the disk is full, names the path and the remedy', function () {
    const recorder = createRecorder(folder, () => new Date(0));
    rmSync(join(folder, 'events.jsonl'));
    // Every write to /dev/full fails with ENOSPC.
    mkdirSync(join(folder, 'evidence'));
    symlinkSync('/dev/full', join(folder, 'evidence', 'dns.a'));
    recorder.attach('dns.a', 1, { name: 'x.txt', content: 'x' });
    expect(recorder.trouble).to.be.instanceOf(Problem);
    expect(recorder.trouble?.message).to.contain(join(folder, 'evidence/dns.a/x.txt'));
    recorder.record({ type: 'message-logged', level: 'info', message: 'still here' });
    expect(recorder.events).to.have.length(1);
    recorder.close();
  });
});

it('writeFileSafely keeps the earlier file when the new one cannot be written', () => {
  const path = join(folder, 'report.html');
  writeFileSync(path, 'earlier');
  symlinkSync('/dev/full', `${path}.partial`);
  expect(() => writeFileSafely(path, 'x'.repeat(100_000))).to.throw(/ENOSPC/);
  expect(readFileSync(path, 'utf8')).to.equal('earlier');
});

describe('openResults', () => {
  const thrownBy = async (path: string): Promise<unknown> =>
    openResults(path).then(
      () => undefined,
      (error: unknown) => error,
    );

  it('refuses what is no archive, and an archive that was cut off', async () => {
    const garbage = join(folder, 'garbage.tar.gz');
    writeFileSync(garbage, 'not gzip');
    const cut = join(folder, 'cut.tar.gz');
    writeFileSync(cut, gzipSync(Buffer.alloc(4096, 7)).subarray(0, 30));
    for (const path of [garbage, cut, join(folder, 'missing')]) {
      expect(await thrownBy(path), path)
        .to.be.instanceOf(Problem)
        .with.property('message')
        .that.contains(path);
    }
  });

  it('reads an extracted directory of an old Sonobuoy and finds what failed', async () => {
    mkdirSync(join(folder, 'plugins/e2e'), { recursive: true });
    mkdirSync(join(folder, 'meta'));
    writeFileSync(join(folder, 'meta/info.json'), '{"plugins":["e2e","gone"]}');
    writeFileSync(
      join(folder, 'plugins/e2e/sonobuoy_results.yaml'),
      'name: e2e\nstatus: failed\nitems:\n- name: a\n  status: failed\n- name: b\n  status: timeout\n  meta: {file: "results\\\\x"}\n- name: c\n  status: passed\n',
    );
    const source = await openResults(folder);
    expect(pluginsOf(source)).to.deep.equal(['e2e']);
    expect([...leavesOf(readItemTree(source, 'e2e'))][1]?.item.meta).to.deep.equal({ file: 'results/x' });
    expect([...failedCases(source)]).to.deep.equal(['a', 'b']);
    expect(() => readItemTree(source, 'other')).to.throw(Problem, 'no results of a plugin "other"');
  });

  it('finds in our own directory what failed, broke or was never reached', async () => {
    writeFileSync(join(folder, 'events.jsonl'), sampleText);
    appendFileSync(join(folder, 'events.jsonl'), '{"type":"cut');
    const source = await openResults(folder);
    expect(ownRecord(source)?.unreadable).to.equal(1);
    expect([...failedCases(source)]).to.deep.equal([
      'services.session-affinity.client-ip',
      'dns.service.a-record',
      'storage.expand.online',
    ]);
  });
});

describe('readJunit', () => {
  it('reads what other tools write, and what ours does', () => {
    const xml = `<?xml version="1.0"?><!DOCTYPE x><!-- a --><testsuites><testsuite name=""><testcase name='a &lt;b&gt; &#65;&#x42;'/>
      <testcase name="c > d"><failure message="m"><![CDATA[<why> & how]]></failure></testcase>
      <testcase name="e"><skipped/></testcase></testsuite></testsuites>`;
    const leaves = [...leavesOf(readJunit(xml, 'results/junit_01.xml'))];
    expect(leaves.map(({ item, path }) => [path.join('|'), item.name, item.status, item.details])).to.deep.equal([
      ['junit_01.xml|testsuite-001', 'a <b> AB', 'passed', {}],
      ['junit_01.xml|testsuite-001', 'c > d', 'failed', { failure: 'm <why> & how' }],
      ['junit_01.xml|testsuite-001', 'e', 'skipped', {}],
    ]);
    const own = [...leavesOf(readJunit(junitXml(sampleRun), 'junit_01.xml'))];
    expect(own.map(({ item }) => item.status)).to.deep.equal([
      'passed',
      'failed',
      'failed',
      'skipped',
      'passed',
      'failed',
    ]);
  });

  it('stands in for the tree in archives that have none', async () => {
    mkdirSync(join(folder, 'plugins/e2e/results'), { recursive: true });
    writeFileSync(
      join(folder, 'plugins/e2e/results/junit_01.xml'),
      '<testsuite name="s"><testcase name="a"><error/></testcase></testsuite>',
    );
    const source = await openResults(folder);
    expect(pluginsOf(source)).to.deep.equal(['e2e']);
    expect([...failedCases(source)]).to.deep.equal(['a']);
  });

  it('ends on any text with a tree or an error, soon (fuzz)', () => {
    const piece = fc.constantFrom(
      '<testsuite>',
      '</testsuite>',
      '<testcase name="',
      '">',
      "'",
      '<![CDATA[',
      ']]>',
      '<!--',
      '-->',
      '&#x110000;',
      '&',
      '/>',
      '<?',
      'x',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 60 }), (pieces) => {
        try {
          readJunit(pieces.join(''), 'x.xml');
        } catch (error) {
          expect(error)
            .to.be.instanceOf(Error)
            .with.property('message')
            .that.matches(/^(it |<)/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

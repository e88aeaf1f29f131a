// SPDX-License-Identifier: Apache-2.0
/**
 * Every reporter's output for the sample run, compared with fixtures/golden byte by byte. After a wanted change:
 * `UPDATE_GOLDEN=1 npx mocha reporters/golden.test.ts`, and read the difference.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { openResults } from '../runner/results/result-source.ts';
import { ownRecord } from '../runner/results/own-record.ts';
import { pluginsOf, readItemTree, leavesOf } from '../runner/results/item-tree.ts';
import { emptyRecord, applyEvent } from '../runner/results/run-record.ts';
import { annotations, githubReporter } from './github/github.ts';
import { htmlReporter } from './html/html.ts';
import { jsonReporter } from './json/json.ts';
import { junitReporter } from './junit/junit.ts';
import { openMetricsReporter } from './openmetrics/openmetrics.ts';
import { sampleEvents, sampleRun } from './sample-run.ts';
import { tarballEntries, tarballName } from './sonobuoy/sonobuoy.ts';
import { writeTarball } from './sonobuoy/tarball.ts';
import { finalLines, liveLines } from './terminal/terminal.ts';

const golden = fileURLToPath(new URL('../fixtures/golden/', import.meta.url));

function expectGolden(name: string, actual: string): void {
  const path = join(golden, name);
  if (process.env['UPDATE_GOLDEN'] === '1') {
    mkdirSync(golden, { recursive: true });
    writeFileSync(path, actual);
  }
  expect(actual).to.equal(
    readFileSync(path, 'utf8'),
    `${name} differs from fixtures/golden; see reporters/golden.test.ts`,
  );
}

describe('reporters, golden', () => {
  for (const reporter of [junitReporter, jsonReporter, openMetricsReporter, githubReporter, htmlReporter]) {
    const [file] = reporter(sampleRun);
    const name = file?.path ?? '';
    it(name, () => expectGolden(name, String(file?.content)));
  }

  it('github annotations', () => expectGolden('annotations.txt', `${annotations(sampleRun).join('\n')}\n`));

  it('terminal', () => {
    const options = { colour: false, columns: 100, verbose: true };
    const record = emptyRecord();
    const lines = sampleEvents.flatMap((event) => {
      applyEvent(record, event);
      const live =
        event.type === 'case-retried'
          ? liveLines(record, new Date('2026-11-21T09:30:03.000Z'), options).map((line) => `| ${line}`)
          : [];
      return [...finalLines(event, record, options), ...live];
    });
    expectGolden('terminal.txt', `${lines.join('\n')}\n`);
  });

  for (const path of [
    'plugins/e2e/sonobuoy_results.yaml',
    'plugins/e2e/results/global/e2e.log',
    'meta/clusterhealth.json',
    'meta/config.json',
    'plugins/e2e/definition.json',
    'meta/run.log',
    'meta/query-time.json',
  ]) {
    it(path, () => {
      const entry = tarballEntries(sampleRun).find((one) => one.path === path);
      expectGolden(path.split('/').at(-1) ?? '', new TextDecoder().decode(entry?.content()));
    });
  }
});

describe('the Sonobuoy tarball', () => {
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), 'plumb-tarball-'))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is the same bytes for the same record, and gives the record back', async () => {
    const [first, second] = [join(folder, tarballName(sampleRun)), join(folder, 'second.tar.gz')];
    const time = new Date(sampleRun.record.run?.time ?? '');
    await writeTarball(first, tarballEntries(sampleRun), time);
    await writeTarball(second, tarballEntries(sampleRun), time);
    expect(first).to.match(/202611210930_sonobuoy_6f1c2d3e-0000-4000-8000-123456789abc\.tar\.gz$/);
    expect(readFileSync(first).equals(readFileSync(second))).to.equal(true);

    const source = await openResults(first);
    expect(pluginsOf(source)).to.deep.equal(['e2e']);
    const statuses = [...leavesOf(readItemTree(source, 'e2e'))].map(({ item }) => item.status);
    expect(statuses).to.deep.equal(['passed', 'failed', 'unknown', 'skipped', 'passed', 'unknown']);

    const own = ownRecord(source);
    expect(own?.events).to.deep.equal(sampleEvents);
    expect(own?.unreadable).to.equal(0);
    expect(own?.files.list()).to.deep.equal(sampleRun.files.list());
    const again = junitReporter({
      record: own?.record ?? emptyRecord(),
      events: own?.events ?? [],
      files: own?.files ?? sampleRun.files,
    });
    expect(again).to.deep.equal(junitReporter(sampleRun));
  });

  it('leaves nothing behind when the disk cannot take it', async () => {
    const path = join(folder, 'no-such-folder', 'x.tar.gz');
    let error: unknown;
    await writeTarball(path, tarballEntries(sampleRun), new Date(0)).catch((thrown: unknown) => (error = thrown));
    expect(error).to.have.property('code', 'ENOENT');
  });
});

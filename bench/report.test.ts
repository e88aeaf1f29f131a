// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { Recording, table, type BenchmarkResult } from './report.ts';

const load = { average: [0.1, 0.2, 0.3], busy: 0.02, stolen: 0 };

function result(recording: Recording): BenchmarkResult {
  const figures = recording.results();
  return { name: 'api', durationMs: 1, load: { before: load, after: load }, notes: ['said'], figures };
}

describe('bench report', () => {
  it('compares with every peer, and says in whose favour', () => {
    const recording = new Recording();
    recording.add({ name: 'get', unit: '1/s', better: 'higher' }, 'plumbline', [3000]);
    recording.add({ name: 'get', unit: '1/s', better: 'higher' }, 'kube-apiserver', [2000, 2500]);
    recording.add({ name: 'get', unit: '1/s', better: 'higher' }, 'plumbline', [2000]);
    recording.add({ name: 'RSS', unit: 'MB', better: 'lower' }, 'plumbline', [120]);
    const document = result(recording);
    expect(document.figures[0]?.results['plumbline']).to.include({ samples: 2, p50: 2000, max: 3000 });
    expect(document.figures[0]?.ratios).to.deep.equal({ 'kube-apiserver': 1 });
    expect(document.figures[1]?.ratios).to.deep.equal({});
    expect(table(document)).to.equal(
      [
        'api  unit  plumbline    p99  n  kube-apiserver    p99  n  / kube-apiserver',
        'get  1/s       2,000  3,000  2           2,000  2,500  2        1.00 ahead',
        'RSS  MB          120         1               -',
        '',
        'Columns: p50 (rates: the middle of the rounds), p99, number of samples.',
        'Load average 0.1 before, 0.1 after.',
        'Note: said',
        '',
      ].join('\n'),
    );
  });
});

// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { histogramQuantile, parsePrometheusText, valueOf } from './prometheus-text.ts';

const page = `# HELP wal fsync
# TYPE wal_seconds histogram
wal_seconds_bucket{le="0.001"} 10
wal_seconds_bucket{le="0.002"} 90
wal_seconds_bucket{le="+Inf"} 100
wal_seconds_sum 0.2
wal_seconds_count 100
size{path="/a\\"b",kind="x"} 1e3 1700000000000
size{path="c"} 5
broken line here`;

describe('latency: Prometheus text', () => {
  it('reads labels, escapes, exponents and time stamps, and skips the rest', () => {
    const samples = parsePrometheusText(page);
    expect(samples).to.have.length(7);
    expect(samples[5]).to.deep.equal({ name: 'size', labels: { path: '/a"b', kind: 'x' }, value: 1000 });
    expect(valueOf(samples, 'size')).to.equal(1005);
    expect(valueOf(samples, 'nothing')).to.equal(undefined);
  });

  it('interpolates quantiles and takes only what came between two readings', () => {
    const after = parsePrometheusText(page);
    expect(histogramQuantile(0.5, { name: 'wal_seconds', after })).to.be.closeTo(0.0015, 1e-9);
    expect(histogramQuantile(0.99, { name: 'wal_seconds', after })).to.equal(0.002);
    expect(histogramQuantile(0.5, { name: 'wal_seconds', after, before: after })).to.equal(undefined);
  });

  it('never fails on noise', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => Array.isArray(parsePrometheusText(text))),
      { numRuns: 300 },
    );
  });
});

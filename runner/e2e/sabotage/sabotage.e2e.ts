// SPDX-License-Identifier: Apache-2.0
/**
 * One broken data path from end to end, on the embedded cluster that PLUMB_E2E_KUBECONFIG names: a rule of nobody's drops a Service's
 * packets in a node, the case goes red, and the evidence shows where they ended.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { runUnder, type Outcome } from './prove.ts';
import { foreignTable } from './sabotages.ts';
import { clusterOf, type Cluster } from './steps.ts';

const kubeconfig = process.env['PLUMB_E2E_KUBECONFIG'] ?? '';
const caseId = 'services.cluster-ip.from-pod';
/** Ends packets to servers of probe pods on their way out of the node, behind the translation of the Service's address. */
const dropRule = 'chain forward { type filter hook forward priority 50; ip daddr 10.244.0.0/16 tcp dport 8080 drop; }';

describe('a data path that is broken in one node', function () {
  this.timeout(90_000);
  let folder: string;
  let cluster: Cluster;
  let outcome: Outcome;

  before(async function () {
    if (kubeconfig === '') this.skip();
    folder = mkdtempSync(join(tmpdir(), 'plumb-sabotage-e2e-'));
    cluster = await clusterOf(kubeconfig);
    outcome = await runUnder(foreignTable(dropRule, 'last-worker'), cluster, { cases: [caseId], results: folder });
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  it('reddens the case, which passed its preflight', () => {
    const found = outcome.cases.get(caseId);
    expect(found?.status, outcome.output).to.equal('failed');
    expect(found?.error?.message).to.contain('dropped');
  });

  it('leaves both captures, their text, and the node at which the packets ended', () => {
    const evidence = join(outcome.directory, 'evidence', caseId);
    const files = readdirSync(evidence);
    const captures = files.filter((name) => name.endsWith('.pcap'));
    expect(captures, files.join(', ')).to.have.length(2);
    for (const name of captures) {
      const pcap = readFileSync(join(evidence, name));
      // A header of 24 bytes, in the byte order of the machine, and packets behind it.
      expect(pcap.readUInt32LE(0), name).to.be.oneOf([0xa1b2c3d4, 0xa1b23c4d]);
      expect(pcap.length, name).to.be.above(24);
    }
    const texts = files.filter((name) => name.endsWith('.txt') && name !== 'explanation.txt');
    expect(texts).to.have.length(2);
    for (const name of texts)
      expect(readFileSync(join(evidence, name), 'utf8'), name).to.match(/ IP \S+ > \S+: Flags \[S\]/);
    const [broken = ''] = cluster.nodes['last-worker'];
    expect(readFileSync(join(evidence, 'explanation.txt'), 'utf8')).to.contain(`it was dropped on ${broken}`);
  });
});

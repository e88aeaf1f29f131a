// SPDX-License-Identifier: Apache-2.0
/**
 * One broken data path from end to end, on the embedded cluster that PLUMB_E2E_KUBECONFIG names: a rule of nobody's drops a Service's
 * packets in a node, the case goes red, and the evidence shows where they ended.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { CaptureFile } from '../../../probes/pcap-parser/read/capture-file.ts';
import { decodeTraceRecord } from '../../../probes/trace/record.ts';
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

  it('leaves the packets of every place, the ways drawn, and the rule on the node where they ended', () => {
    const evidence = join(outcome.directory, 'evidence', caseId);
    const files = readdirSync(evidence);
    expect(files).to.include.members(['packets.pcapng', 'trace.json', 'trace.txt', 'explanation.txt']);
    const [broken = ''] = cluster.nodes['last-worker'];
    const { verdict } = decodeTraceRecord(readFileSync(join(evidence, 'trace.json'), 'utf8'));
    expect(verdict.reason).to.equal('foreign-firewall');
    expect(verdict.ended?.node).to.equal(broken);
    expect(verdict.rule).to.contain('tcp dport 8080');
    const places = new Set(packetsOf(join(evidence, 'packets.pcapng')));
    expect(places.size, [...places].join(', ')).to.be.at.least(2);
    expect(readFileSync(join(evidence, 'explanation.txt'), 'utf8')).to.contain(`A firewall rule on ${broken}`);
  });
});

function packetsOf(path: string): string[] {
  const file = new CaptureFile(path);
  const places: string[] = [];
  for (let packet = file.next(); packet !== undefined; packet = file.next())
    places.push(packet.captureInterface.name ?? '');
  return places;
}

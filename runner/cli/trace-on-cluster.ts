// SPDX-License-Identifier: Apache-2.0
/** The part of `plumb trace` that meets a cluster. */
import { readFileSync } from 'node:fs';
import { differences } from '../../probes/trace/baseline.ts';
import { decodeTraceRecord, type TraceRecord } from '../../probes/trace/record.ts';
import { traceLines } from '../../probes/trace/trace-lines.ts';
import { messageOf, Problem } from '../problem.ts';
import { namesByAddress, readNetworkObjects } from '../target/network-objects.ts';
import { exitCodeOf } from './exit-code.ts';
import { onExistingCluster } from './on-existing-cluster.ts';
import { traceFlow } from '../diagnose/flow.ts';
import { parseTarget, partyFrom } from '../diagnose/parties.ts';
import type { TraceFlags } from './trace.ts';

/** Probes of a trace live this long at most. */
const lifeSeconds = 300;

/** Resolves to the exit code. */
export async function traceOnCluster(
  words: { readonly from: string; readonly to: string },
  flags: TraceFlags,
  version: string,
): Promise<number> {
  const baseline = flags.baseline === undefined ? undefined : readBaseline(flags.baseline);
  return await onExistingCluster('trace', { flags, version }, async ({ kube, namespace, openAccess }) => {
    const objects = await readNetworkObjects(kube);
    const from = partyFrom(words.from, { objects, namespace });
    const { host, port, protocol } = parseTarget(words.to, { objects, namespace });
    const { first, toSilent } = await traceFlow({
      kube,
      objects,
      access: flags.nodeProbes ? await openAccess(lifeSeconds) : undefined,
      from,
      to: words.to,
      host,
      port,
      protocol: flags.protocol ?? protocol,
      timeoutMs: flags.timeout * 1000,
      payloadOctets: flags.payload ?? 0,
    });
    const json = flags.json === true;
    const names = namesByAddress(objects);
    if (toSilent === undefined || !json) show(first, { json, names });
    // Standard output is one document: that of the probe that shows what is wrong.
    else process.stderr.write(`${first.verdict.summary}\n`);
    if (toSilent !== undefined) {
      if (!json) process.stdout.write('\n');
      show(toSilent, { json, names });
    }
    if (baseline !== undefined) showDifferences(baseline, first, json);
    const { outcome } = (toSilent ?? first).verdict;
    return exitCodeOf(outcome === 'delivered' ? 'passed' : outcome === 'not-delivered' ? 'failed' : 'inconclusive');
  });
}

function show(record: TraceRecord, { json, names }: { json: boolean; names: ReadonlyMap<string, string> }): void {
  const colour = process.stdout.hasColors?.() === true && process.env['NO_COLOR'] === undefined;
  const text = json
    ? JSON.stringify(record, undefined, 2)
    : traceLines(record.observations, record.verdict, { names, colour }).join('\n');
  process.stdout.write(`${text}\n`);
}

function showDifferences(baseline: TraceRecord, record: TraceRecord, json: boolean): void {
  const found = differences(baseline, record);
  const lines =
    found.length === 0
      ? ['nothing is different from the baseline']
      : ['different from the baseline:', ...found.map((one) => `  ${one}`)];
  (json ? process.stderr : process.stdout).write(`\n${lines.join('\n')}\n`);
}

function readBaseline(path: string): TraceRecord {
  try {
    return decodeTraceRecord(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Problem(`baseline ${path}: ${messageOf(error)}`, 'Make one with: plumb trace FROM TO --json > FILE');
  }
}

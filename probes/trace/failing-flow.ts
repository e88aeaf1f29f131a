// SPDX-License-Identifier: Apache-2.0
/** Looks at the flow of a failed case again, at the moment of failure: the same trace that `plumb trace` makes, kept as evidence. */
import type { SeenPacket } from '../capture/capture.ts';
import type { Attach, MadeAttempt, ProbePod } from '../agent/prober.ts';
import type { NodeAccess } from '../node-session/node-access.ts';
import { packetFile } from '../capture/packet-file.ts';
import type { TraceProtocol } from './observations.ts';
import type { TraceRecord } from './record.ts';

export interface FlowToTrace {
  /** `namespace/name`; absent: the node itself. */
  readonly pod: string | undefined;
  readonly node: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: TraceProtocol;
  readonly payloadOctets: number;
  readonly access: NodeAccess | undefined;
  readonly onPacket: (seen: SeenPacket) => void;
}

export interface TracedFailure {
  /** Of the probe that shows what is wrong. */
  readonly record: TraceRecord;
  /** The ways drawn, line by line. */
  readonly lines: readonly string[];
  /** What became of an earlier probe that met another endpoint of the Service. */
  readonly met?: string;
}

/** Supplied by whoever knows the cluster's objects and policies. */
export type FlowTracer = (flow: FlowToTrace) => Promise<TracedFailure>;

export interface FailingFlowInput {
  readonly error: Error;
  /** All attempts of the case, oldest first. */
  readonly made: readonly MadeAttempt[];
  readonly attach: Attach;
  /** undefined with --no-node-probes. */
  readonly access: NodeAccess | undefined;
  readonly trace: FlowTracer;
}

const packetOctetsMost = 4 * 1024 * 1024;

/** Does nothing when the case made no attempt. That the flow could not be traced is told in the explanation. */
export async function recordFailingFlow(input: FailingFlowInput): Promise<void> {
  const chosen = failedAttempt(input);
  if (chosen === undefined) return;
  const { from, request, result } = chosen;
  const { attach } = input;
  const target = `${request.protocol} ${request.host}:${request.port}`;
  await attach({
    name: 'attempt.json',
    content: JSON.stringify({ from: from.description, node: from.node, request, result }, undefined, 2),
    summary: `The attempt: ${from.description} to ${target} ended "${result.outcome}"`,
  });
  const packets = evidencePackets();
  let explanation = `${from.description} tried ${target}, which ended "${result.outcome}" (${result.error ?? 'no error text'}).`;
  try {
    const traced = await input.trace({
      pod: 'ips' in from ? `${(from as ProbePod).namespace}/${(from as ProbePod).name}` : undefined,
      node: from.node,
      host: request.host,
      port: request.port,
      protocol: request.protocol,
      payloadOctets: request.payloadBytes ?? 0,
      access: input.access,
      onPacket: packets.add,
    });
    const { record, lines, met } = traced;
    await attach({
      name: 'trace.json',
      content: JSON.stringify(record, undefined, 2),
      summary: 'Everything that was seen of the repeated attempt',
    });
    await attach({
      name: 'trace.txt',
      content: `${lines.join('\n')}\n`,
      summary: 'The way of the packets, there and back',
    });
    const { outcome, summary, evidence, next, gaps } = record.verdict;
    const again =
      outcome === 'delivered'
        ? ' The attempt was repeated under a trace and succeeded: the fault has passed, or comes and goes.'
        : ' The attempt was repeated under a trace.';
    explanation = [
      `${explanation}${again}`,
      ...(met === undefined ? [] : [met]),
      summary,
      ...evidence.map((fact) => `- ${fact}`),
      `Next: ${next}`,
      ...gaps.map((gap) => `Not seen: ${gap}`),
    ].join('\n');
  } catch (error) {
    explanation += ` It could not be traced: ${error instanceof Error ? error.message : String(error)}.`;
  }
  if (packets.count() > 0)
    await attach({
      name: 'packets.pcapng',
      content: packets.content(),
      summary: 'Packets of the repeated attempt at every place, merged',
    });
  await attach({
    name: 'explanation.txt',
    content: `${explanation}\n`,
    role: 'explanation',
    summary: 'Where the packets ended, and why',
  });
}

/** The attempt that the failed assertion names, or the newest that did not succeed, or the newest. */
function failedAttempt({ error, made }: FailingFlowInput): MadeAttempt | undefined {
  const named = 'attempt' in error ? made.find(({ result }) => result === error.attempt) : undefined;
  return named ?? made.findLast(({ result }) => result.outcome !== 'allowed') ?? made.at(-1);
}

/** The first packets, as many as evidence is worth. */
function evidencePackets(): {
  readonly add: (seen: SeenPacket) => void;
  readonly count: () => number;
  readonly content: () => Buffer;
} {
  const blocks: Uint8Array[] = [];
  const write = packetFile({ write: (octets) => void blocks.push(octets) });
  let octets = 0;
  let count = 0;
  return {
    add: (seen) => {
      if (octets > packetOctetsMost) return;
      write(seen);
      octets += seen.captured.frame.length;
      count++;
    },
    count: () => count,
    content: () => Buffer.concat(blocks),
  };
}

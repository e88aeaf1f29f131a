// SPDX-License-Identifier: Apache-2.0
/**
 * Decides from what was seen whether the probes were delivered, and if not, where they ended, why, through which object, and what to do next.
 * Pure. It walks the way: name, Service, source, source's node, the way between nodes, destination's node, destination, and back.
 */
import { judgeBlind, judgeDelivered, judgeLater, judgeName, judgeService } from './judge-ends.ts';
import { judgeWay } from './judge-way.ts';
import type { Observations } from './observations.ts';
import { describePlace, hopsOf, waysOf } from './path.ts';
import type { Finding } from './finding.ts';
import type { TraceVerdict } from './verdict.ts';

export function judge(observations: Observations): TraceVerdict {
  const { attempts, rules, gaps, question } = observations;
  const ways = waysOf(observations);
  const last = attempts.at(-1);
  const finding: Finding =
    judgeName(observations) ??
    judgeDelivered(observations) ??
    judgeService(observations, ways) ??
    judgeBlind(observations) ??
    judgeLater(observations, ways) ??
    judgeWay(observations, ways);
  const named = finding.reason === 'name-resolution';
  const inconclusive = !named && (last === undefined || last.outcome === 'prober-broken');
  return {
    outcome: finding.delivered === true ? 'delivered' : inconclusive ? 'inconclusive' : 'not-delivered',
    reason: finding.reason,
    summary: finding.summary,
    ...(finding.ended === undefined ? {} : { ended: finding.ended }),
    ...(finding.rule === undefined ? {} : { rule: finding.rule }),
    objects: finding.objects ?? [],
    next: finding.next,
    evidence: [
      ...attempts.map(
        ({ outcome, error, latencyMs, payloadOctets }) =>
          `attempt from ${question.from.name} to ${question.to}${payloadOctets > 0 ? ` with ${payloadOctets} octets` : ''}: ${outcome}${error === undefined ? '' : ` (${error})`} after ${latencyMs} ms`,
      ),
      ...(finding.delivered === true ? [] : lastSeen(ways.there, 'the request')),
      ...(finding.delivered === true ? [] : lastSeen(ways.back, 'the answer')),
      ...(finding.evidence ?? []),
    ],
    there: hopsOf(ways.there, rules),
    back: hopsOf(ways.back, rules),
    gaps,
  };
}

function lastSeen(sightings: readonly Observations['sightings'][number][], what: string): string[] {
  const last = sightings.at(-1);
  return last === undefined ? [] : [`${what} was seen last at ${describePlace(last.place)}`];
}

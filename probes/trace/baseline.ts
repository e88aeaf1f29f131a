// SPDX-License-Identifier: Apache-2.0
/** What is different from a trace of a good day. Pure. */
import type { TraceRecord } from './record.ts';
import type { Hop } from './verdict.ts';

/** A way that takes this many times as long is worth a word. */
const slower = 3;
const slowerAtLeastUs = 2_000;

export function differences(before: TraceRecord, now: TraceRecord): string[] {
  const lines: string[] = [];
  const say = (what: string, was: string, is: string): void => {
    if (was !== is) lines.push(`${what}: was ${was || 'nothing'}, is ${is || 'nothing'}`);
  };
  say('outcome', before.verdict.outcome, now.verdict.outcome);
  say('address', before.observations.question.address ?? '', now.observations.question.address ?? '');
  say('servers', serversOf(before), serversOf(now));
  for (const way of ['there', 'back'] as const) {
    const was = before.verdict[way];
    const is = now.verdict[way];
    say(`way ${way}`, was.map(stationOf).join(' > '), is.map(stationOf).join(' > '));
    const tookBefore = was.at(-1)?.afterUs ?? 0;
    const takes = is.at(-1)?.afterUs ?? 0;
    if (takes > slowerAtLeastUs && takes > tookBefore * slower)
      lines.push(`way ${way}: took ${tookBefore} us, takes ${takes} us`);
    const rulesBefore = new Set(was.flatMap(({ rules }) => rules).map(withoutCounters));
    const rulesNow = new Set(is.flatMap(({ rules }) => rules).map(withoutCounters));
    for (const rule of rulesNow.difference(rulesBefore))
      lines.push(`way ${way}, rule that was not met before: ${rule}`);
    for (const rule of rulesBefore.difference(rulesNow)) lines.push(`way ${way}, rule that is no longer met: ${rule}`);
  }
  const policies = ({ observations }: TraceRecord): string =>
    observations.policies
      .map(({ direction, allowed, why }) => `${direction} ${allowed ? 'allowed' : 'denied'} (${why})`)
      .join('; ');
  say('policies', policies(before), policies(now));
  return lines;
}

function serversOf({ observations }: TraceRecord): string {
  return observations.question.servers
    .map(({ name, port }) => `${name}:${port}`)
    .toSorted()
    .join(' ');
}

/** Names of virtual interfaces are made up anew with each pod. */
function stationOf({ place: { node, kind, interface: name, pod } }: Hop): string {
  return kind === 'host-side'
    ? `${node}/host side of ${pod}`
    : `${node}/${name}${pod === undefined ? '' : ` of ${pod}`}`;
}

function withoutCounters(rule: string): string {
  return rule.replaceAll(/counter packets \d+ bytes \d+/g, 'counter');
}

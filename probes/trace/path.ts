// SPDX-License-Identifier: Apache-2.0
/** Puts sightings of the probes into the order of their way, there and back. Pure. */
import type { Observations, Place, Question, RuleStep, Sighting } from './observations.ts';
import type { Hop } from './verdict.ts';

export interface Ways {
  /** Sightings of the request that came furthest, in order. */
  readonly there: readonly Sighting[];
  /** Of the answer that came furthest. */
  readonly back: readonly Sighting[];
  /** Errors about the flow, in order of time. */
  readonly errors: readonly Sighting[];
  /** All packets of the flow, by number. */
  readonly packets: ReadonlyMap<number, readonly Sighting[]>;
}

const tcp = 6;

/** Packets belong to the flow if the probes' port is seen at one of their places, whatever it was translated to elsewhere. */
export function waysOf({ question, sightings }: Pick<Observations, 'question' | 'sightings'>): Ways {
  const packets = new Map<number, Sighting[]>();
  for (const sighting of sightings) {
    const known = packets.get(sighting.packet);
    if (known === undefined) packets.set(sighting.packet, [sighting]);
    else known.push(sighting);
  }
  const translated = new Set<number>([question.clientPort, question.clientPort + 1]);
  for (const [, places] of packets) {
    if (!places.some(({ sourcePort }) => sourcePort === question.clientPort)) continue;
    for (const { sourcePort } of places) translated.add(sourcePort);
  }
  const requests: Sighting[][] = [];
  const answers: Sighting[][] = [];
  const errors: Sighting[] = [];
  const ofFlow = new Map<number, readonly Sighting[]>();
  for (const [number, places] of packets) {
    const about = places.find(({ error }) => error !== undefined)?.error?.about;
    if (about !== undefined) {
      if (translated.has(about.sourcePort) || translated.has(about.destinationPort)) {
        errors.push(...places);
        ofFlow.set(number, places);
      }
    } else if (places.some(({ sourcePort }) => sourcePort === question.clientPort)) {
      requests.push(places);
      ofFlow.set(number, places);
    } else if (places.some(({ destinationPort }) => translated.has(destinationPort))) {
      answers.push(places);
      ofFlow.set(number, places);
    }
  }
  return {
    there: furthest(requests, question, 'there'),
    back: furthest(answers, question, 'back'),
    errors: errors.toSorted((a, b) => a.seconds - b.seconds),
    packets: ofFlow,
  };
}

/** Of the packets that open the flow the one seen at most places; places in the order of the way. */
function furthest(packets: readonly Sighting[][], question: Question, way: 'there' | 'back'): Sighting[] {
  const ordered = packets.map((places) => inOrder(places, question, way));
  const opening = ordered.filter(
    ([first]) =>
      first?.protocol !== tcp || first.flags?.startsWith('S') === true || first.flags?.startsWith('R') === true,
  );
  const candidates = opening.length > 0 ? opening : ordered;
  return candidates.reduce<Sighting[]>(
    (best, one) => (reach(one, question, way) > reach(best, question, way) ? one : best),
    [],
  );
}

function reach(places: readonly Sighting[], question: Question, way: 'there' | 'back'): number {
  const last = places.at(-1);
  return last === undefined ? -1 : rankOf(last, question, way) * 100 + places.length;
}

/** By the clock within a node, by the way between nodes: clocks of nodes may disagree by more than a packet takes. */
function inOrder(places: readonly Sighting[], question: Question, way: 'there' | 'back'): Sighting[] {
  return places.toSorted((a, b) => {
    if (a.place.node === b.place.node)
      return a.seconds - b.seconds || rankOf(a, question, way) - rankOf(b, question, way);
    return stageOf(a.place.node, question, way) - stageOf(b.place.node, question, way) || a.seconds - b.seconds;
  });
}

/** 0: the client's node, 2: a server's node, 1: any other, on the way there; the other way round on the way back. */
function stageOf(node: string, { from, servers }: Question, way: 'there' | 'back'): number {
  const stage = node === from.node ? 0 : servers.some((server) => server.node === node) ? 2 : 1;
  return way === 'there' ? stage : 2 - stage;
}

/** Grows along the way. */
export function rankOf({ place }: Sighting, question: Question, way: 'there' | 'back'): number {
  const { from, servers } = question;
  const atClient = place.pod !== undefined && place.pod === from.name;
  const atServer = place.pod !== undefined && servers.some(({ name }) => name === place.pod);
  const inner: Readonly<Record<Place['kind'], number>> = { pod: 0, 'host-side': 1, tunnel: 2, uplink: 3 };
  const depth = inner[place.kind];
  // A pod that talks to itself is left and entered by the same interface.
  const rank =
    atClient && !atServer
      ? depth
      : atServer
        ? 13 - depth
        : stageOf(place.node, question, 'there') === 0
          ? depth
          : stageOf(place.node, question, 'there') === 2
            ? 13 - depth
            : 6;
  return way === 'there' ? rank : 13 - rank;
}

export function hopsOf(sightings: readonly Sighting[], rules: readonly RuleStep[]): Hop[] {
  const first = sightings[0]?.seconds ?? 0;
  return sightings.map((sighting, index): Hop => {
    const before = sightings[index - 1];
    const { place, seconds, source, sourcePort, destination, destinationPort, tunnel } = sighting;
    const translated =
      before !== undefined &&
      (before.source !== source ||
        before.destination !== destination ||
        before.sourcePort !== sourcePort ||
        before.destinationPort !== destinationPort);
    return {
      place,
      afterUs: Math.round((seconds - first) * 1e6),
      source,
      sourcePort,
      destination,
      destinationPort,
      translated,
      ...(tunnel === undefined ? {} : { tunnel }),
      rules:
        before === undefined || before.place.node !== place.node || before.place.kind === 'pod' || place.kind === 'pod'
          ? []
          : deciding(rules, sighting),
    };
  });
}

/** Rules that translated, dropped or let pass by name; jumps and chains' own verdicts say nothing about a hop. */
function deciding(rules: readonly RuleStep[], { place, identification }: Sighting): string[] {
  const ids = new Set(
    rules
      .filter(({ node, packet }) => node === place.node && packet?.identification === identification)
      .map(({ trace }) => trace),
  );
  return rules
    .filter(
      ({ node, trace, rule }) =>
        node === place.node &&
        ids.has(trace) &&
        rule !== undefined &&
        /\b(dnat|snat|masquerade|redirect|drop|reject)\b/.test(rule),
    )
    .map(describeRule)
    .filter((text, index, all) => all.indexOf(text) === index);
}

export function describeRule({ table, chain, rule, verdict }: RuleStep): string {
  return `table ${table}, chain ${chain}: ${rule ?? `policy ${verdict}`}`;
}

export function describePlace({ node, kind, interface: name, pod }: Place): string {
  const whose = pod === undefined ? '' : kind === 'pod' ? ` in pod ${pod}` : ` (host side of pod ${pod})`;
  return `${name}${whose} on ${node}`;
}

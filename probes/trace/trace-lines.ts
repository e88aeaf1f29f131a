// SPDX-License-Identifier: Apache-2.0
/** A verdict as text: the way there and back hop by hop, where it ended, why, and what to do next. Pure. */
import type { ConntrackEntry, DnsStep, FlowTuple, Observations } from './observations.ts';
import type { TraceVerdict } from './verdict.ts';

export interface LinesOptions {
  readonly names: ReadonlyMap<string, string>;
  readonly colour: boolean;
}

const marks = { hop: 'o', link: '|', lost: 'x' } as const;

export function traceLines(observations: Observations, verdict: TraceVerdict, options: LinesOptions): string[] {
  const { question, dns } = observations;
  const paint = painter(options.colour);
  const to =
    question.address === undefined || question.to.includes(question.address)
      ? question.to
      : `${question.to} (${question.address}:${question.port})`;
  const lines = [paint.bold(`${question.from.name} -> ${to}  ${question.protocol}`)];
  if (dns.length > 0) lines.push('', 'name', ...dns.map((step) => `  ${dnsLine(step)}`));
  lines.push(...wayLines('there', verdict, { ...options, paint }), ...wayLines('back', verdict, { ...options, paint }));
  lines.push(...trackedLines(observations, options.names));
  const word = {
    delivered: paint.green('DELIVERED'),
    'not-delivered': paint.red('NOT DELIVERED'),
    inconclusive: paint.red('INCONCLUSIVE'),
  }[verdict.outcome];
  lines.push('', `${word}${verdict.reason === undefined ? '' : `: ${verdict.reason}`}`, `  ${verdict.summary}`);
  if (verdict.rule !== undefined) lines.push(`  rule:    ${verdict.rule}`);
  if (verdict.objects.length > 0) lines.push(`  objects: ${verdict.objects.join(', ')}`);
  if (verdict.outcome !== 'delivered') {
    for (const fact of verdict.evidence) lines.push(`  seen:    ${fact}`);
    lines.push(`  next:    ${verdict.next}`);
  }
  for (const gap of verdict.gaps) lines.push(`  not seen: ${gap}`);
  return lines;
}

function dnsLine({ name, type, server, outcome, answers, latencyMs }: DnsStep): string {
  return `${type.padEnd(4)} ${name}  @${server}  ${outcome}${answers.length === 0 ? '' : ` ${answers.join(' ')}`}  ${latencyMs} ms`;
}

interface Painter {
  readonly bold: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly dim: (text: string) => string;
}

function painter(colour: boolean): Painter {
  const paint = (code: number) => (text: string) => (colour ? `\u001B[${code}m${text}\u001B[0m` : text);
  return { bold: paint(1), red: paint(31), green: paint(32), dim: paint(2) };
}

function wayLines(
  way: 'there' | 'back',
  { there, back, ended, outcome }: TraceVerdict,
  { names, paint }: LinesOptions & { readonly paint: Painter },
): string[] {
  const hops = way === 'there' ? there : back;
  if (hops.length === 0) return [];
  const places = hops.map(
    ({ place }) =>
      `${place.node}  ${place.interface}${place.pod === undefined ? '' : place.kind === 'pod' ? ` of ${place.pod}` : ` to ${place.pod}`}`,
  );
  const width = Math.max(...places.map((place) => place.length));
  const lines = ['', way];
  hops.forEach((hop, index) => {
    if (index > 0) {
      lines.push(`  ${marks.link}`);
      for (const rule of hop.rules) lines.push(`  ${marks.link}   ${paint.dim(shortened(rule))}`);
    }
    lines.push(
      `  ${marks.hop}  ${(places[index] ?? '').padEnd(width)}  ${tuple(hop, names)}${hop.tunnel === undefined ? '' : ` in ${hop.tunnel}`}  ${hop.afterUs < 0 ? '' : '+'}${hop.afterUs} us${hop.translated ? paint.bold('  translated') : ''}`,
    );
  });
  if (outcome === 'not-delivered' && ended?.way === way)
    lines.push(`  ${marks.link}`, `  ${paint.red(marks.lost)}  ${paint.red(`ended on ${ended.node}`)}`);
  return lines;
}

/** Each tracked connection once, with the states that it went through. */
function trackedLines({ conntrack, conntrackEvents }: Observations, names: ReadonlyMap<string, string>): string[] {
  const seen: readonly (ConntrackEntry & { readonly event?: string })[] = [...conntrackEvents, ...conntrack];
  const flows = Map.groupBy(seen, ({ node, original, reply }) =>
    [node, ...[original, reply].map((one) => tuple(one, names))].join(' '),
  );
  if (flows.size === 0) return [];
  const lines = [...flows.values()].flatMap((entries): string[] => {
    const [first] = entries;
    if (first === undefined) return [];
    const states = entries
      .map(({ state, event }) => (event === 'DESTROY' ? 'removed' : state))
      .filter((state) => state !== '');
    const answered = entries.some(({ unreplied }) => !unreplied);
    const through = states.filter((state, index) => state !== states[index - 1]).join(', ');
    const { reply } = first;
    return [
      `  ${first.node}  ${tuple(first.original, names)}, answers ${answered ? 'came' : 'expected and not seen'} from ${end(reply.source, reply.sourcePort, names)}${through === '' ? '' : `  ${through}`}`,
    ];
  });
  return ['', 'tracked connections', ...lines];
}

function tuple(
  { source, sourcePort, destination, destinationPort }: FlowTuple,
  names: ReadonlyMap<string, string>,
): string {
  return `${end(source, sourcePort, names)} > ${end(destination, destinationPort, names)}`;
}

function end(address: string, port: number, names: ReadonlyMap<string, string>): string {
  const shown = address.includes(':') && port >= 0 ? `[${address}]` : address;
  return `${shown}${port < 0 ? '' : `:${port}`}${names.has(address) ? ` (${names.get(address)})` : ''}`;
}

const longest = 160;

function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - 3)}...`;
}

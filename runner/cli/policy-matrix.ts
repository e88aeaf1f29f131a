// SPDX-License-Identifier: Apache-2.0
/** `plumb policy matrix` and `plumb policy what-if`: the verdict of every pair of pods on every port, and what a change of policies does to it. */
import { partyName, type Model, type Party, type Verdict } from '../../suites/oracles/reachability/model.ts';
import { judge } from '../../suites/oracles/reachability/oracle.ts';
import { Problem } from '../problem.ts';
import type { PolicyInput, ServedPort } from './policy-model.ts';

export interface MatrixCell extends ServedPort {
  readonly from: string;
  readonly to: string;
  readonly verdict: Verdict;
}

export interface MatrixScope {
  readonly ports: readonly ServedPort[];
  /** Only pods of these; empty: all. */
  readonly namespaces: readonly string[];
  /** Addresses outside that take part beside the pods. */
  readonly outside: readonly string[];
}

/** Ports that the containers declare, or 80/tcp where none does. */
export function portsOrDeclared(given: readonly ServedPort[], { servedPorts }: PolicyInput): readonly ServedPort[] {
  if (given.length > 0) return given;
  return servedPorts.length > 0 ? servedPorts : [{ port: 80, protocol: 'tcp' }];
}

export function matrixOf(model: Model, scope: MatrixScope): MatrixCell[] {
  const parties = partiesOf(model, scope);
  return scope.ports.flatMap(({ protocol, port }) =>
    parties.flatMap((source) =>
      parties
        // Between two addresses outside there is nothing to decide.
        .filter((destination) => 'namespace' in source || 'namespace' in destination)
        .map((destination) => ({
          from: partyName(source),
          to: partyName(destination),
          protocol,
          port,
          verdict: judge(model, { source, destination, protocol, port }),
        })),
    ),
  );
}

/** The cells whose verdict is another one under `after`, the newly denied first. */
export function flippedCells(before: Model, after: Model, scope: MatrixScope): MatrixCell[] {
  const then = matrixOf(before, scope);
  return matrixOf(after, scope)
    .filter(({ verdict }, index) => verdict.allowed !== then[index]?.verdict.allowed)
    .toSorted((a, b) => Number(a.verdict.allowed) - Number(b.verdict.allowed));
}

/** One grid per port: rows are sources, columns destinations. `.` allowed, `X` denied. */
export function matrixTable(cells: readonly MatrixCell[], { why }: { readonly why: boolean }): string[] {
  const names = [...new Set(cells.flatMap(({ from, to }) => [from, to]))];
  const width = String(names.length).length;
  const labelWidth = Math.max(...names.map((name) => name.length)) + width + 1;
  const number = (index: number): string => String(index + 1).padStart(width);
  const byPort = Map.groupBy(cells, ({ port, protocol }) => `${port}/${protocol}`);
  const grids = [...byPort].map(([port, own]) => {
    const marks = new Map(own.map((cell) => [`${cell.from} ${cell.to}`, cell.verdict.allowed ? '.' : 'X']));
    return [
      port,
      `${' '.repeat(labelWidth)} ${names.map((_, index) => number(index)).join(' ')}`,
      ...names.map((from, row) => {
        const signs = names.map((to) => (marks.get(`${from} ${to}`) ?? ' ').padStart(width));
        return `${`${number(row)} ${from}`.padEnd(labelWidth)} ${signs.join(' ')}`;
      }),
      ...(why ? own.filter(({ verdict }) => !verdict.allowed).map((cell) => `  ${cellLine(cell)}`) : []),
      '',
    ];
  });
  return [...grids.flat(), 'rows send, columns receive: . allowed, X denied'];
}

export function matrixCsv(cells: readonly MatrixCell[]): string[] {
  const quote = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [
    'from,to,port,protocol,allowed,egress,ingress',
    ...cells.map(({ from, to, port, protocol, verdict }) =>
      [from, to, String(port), protocol, String(verdict.allowed), verdict.egress.why, verdict.ingress.why]
        .map(quote)
        .join(','),
    ),
  ];
}

export function matrixJson(cells: readonly MatrixCell[], { why }: { readonly why: boolean }): object[] {
  return cells.map(({ verdict, ...cell }) => ({
    ...cell,
    allowed: verdict.allowed,
    ...(why && { egress: verdict.egress, ingress: verdict.ingress }),
  }));
}

/** `x/a -> y/b 80/tcp: denied by ingress, no ingress rule of y/deny matches`. */
export function cellLine({ from, to, port, protocol, verdict: { allowed, egress, ingress } }: MatrixCell): string {
  const flow = `${from} -> ${to} ${port}/${protocol}`;
  if (allowed) return `${flow}: egress ${egress.why}; ingress ${ingress.why}`;
  const sides = [
    ...(egress.allowed ? [] : [`egress, ${egress.why}`]),
    ...(ingress.allowed ? [] : [`ingress, ${ingress.why}`]),
  ];
  return `${flow}: denied by ${sides.join(' and by ')}`;
}

function partiesOf({ pods }: Model, { namespaces, outside }: MatrixScope): Party[] {
  const missing = namespaces.find((name) => !pods.some(({ namespace }) => namespace === name));
  if (missing !== undefined) {
    const known = [...new Set(pods.map(({ namespace }) => namespace))].join(', ') || 'none';
    throw new Problem(`--namespace ${missing} has no pods`, `Namespaces with pods: ${known}.`);
  }
  const chosen = pods.filter(({ namespace }) => namespaces.length === 0 || namespaces.includes(namespace));
  if (chosen.length === 0) {
    throw new Problem('there are no pods to judge', 'Give pods or workloads beside the policies, with one more -f.');
  }
  return [...chosen, ...outside.map((address) => ({ address }))];
}

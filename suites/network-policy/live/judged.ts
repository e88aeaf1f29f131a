// SPDX-License-Identifier: Apache-2.0
/** What was seen in the cells, judged, and as text. */
import type { CellResult } from '../../../probes/connectivity/matrix.ts';
import type { TableCell } from './cells.ts';
import type { PodKey } from './world.ts';

export type Result = CellResult<TableCell>;

export function isWrong({ cell, result, requestArrived }: Result): boolean {
  if (!cell.allowed) return requestArrived;
  // An answer from somebody else is no answer.
  return result.outcome !== 'allowed' || (cell.server !== '' && result.server?.hostname !== cell.server);
}

const legend = '. allowed, X blocked, both as they must be; ! open but must be closed; ? closed but must be open';

/** One grid per port and family: rows are sources; below, what is wrong on other ways. */
export function drawTables(pods: readonly PodKey[], results: readonly Result[]): string {
  const direct = results.filter(({ cell }) => cell.column === 'pod');
  const grids = [...Map.groupBy(direct, ({ cell }) => `${cell.protocol}/${cell.port} over IPv${cell.family}`)].map(
    ([title, own]) => {
      const marks = new Map(own.map((one) => [`${one.cell.from} ${one.cell.to}`, markOf(one)]));
      const rows = pods.map(
        (from) => `${from}  ${pods.map((to) => (marks.get(`${from} ${to}`) ?? ' ').padEnd(4)).join('')}`,
      );
      return [title, `     ${pods.map((pod) => pod.padEnd(4)).join('')}`, ...rows].join('\n');
    },
  );
  const elsewhere = results.filter((one) => one.cell.column !== 'pod' && isWrong(one)).map(describeWrong);
  return [...grids, ...(elsewhere.length > 0 ? [`Other ways:\n${elsewhere.join('\n')}`] : []), legend, ''].join('\n\n');
}

function markOf(one: Result): string {
  if (isWrong(one)) return one.cell.allowed ? '?' : '!';
  return one.cell.allowed ? '.' : 'X';
}

export function describeWrong(wrong: Result | undefined): string {
  if (wrong === undefined) return '';
  const { cell, result, requestArrived } = wrong;
  const place = cell.sameNode === undefined ? '' : cell.sameNode ? ', same node' : ', across nodes';
  const arrived = requestArrived ? 'the request arrived' : 'the request did not arrive';
  return `${cell.key} (${cell.source.description} to ${cell.host}${place}): expected ${expectation(cell)}, got ${result.outcome} (${arrived})`;
}

function expectation({ allowed, why }: TableCell): string {
  return `${allowed ? 'allowed' : 'blocked'} (${why})`;
}

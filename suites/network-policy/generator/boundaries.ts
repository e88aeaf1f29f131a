// SPDX-License-Identifier: Apache-2.0
/**
 * Edges of port ranges. The table serves few ports, so the range is moved and not the probe: the served port is once just before a range, once
 * its first, once its last, once just after it.
 */
import { allow, directions, everyPod, policy, policyCase, port, put } from './parts.ts';
import { tablePorts, type PolicyCase } from './policy-case.ts';

const { first, second } = tablePorts;

const ranges = [
  { id: 'before-start', range: [second + 1, 9000] },
  { id: 'at-start', range: [second, 9000] },
  { id: 'at-end', range: [8000, first] },
  { id: 'after-end', range: [8000, first - 1] },
  { id: 'exactly-both', range: [first, second] },
  { id: 'one-port', range: [first, first] },
  { id: 'every-port', range: [1, 65_535] },
  { id: 'to-the-last', range: [second, 65_535] },
  { id: 'from-the-first', range: [1, first] },
] as const;

export const boundaryCases: readonly PolicyCase[] = directions.flatMap((direction) =>
  (['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol) =>
    ranges.map(({ id, range: [start, end] }) =>
      policyCase(
        `boundary.${direction}.${protocol.toLowerCase()}.${id}`,
        `${protocol} ports ${start} to ${end} are open for ${direction} and none beside`,
        {
          tags: ['boundary'],
          steps: [put(policy('x/range', everyPod, allow(direction, { ports: [port(protocol, start, end)] })))],
        },
      ),
    ),
  ),
);
